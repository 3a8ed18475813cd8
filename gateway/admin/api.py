"""All endpoints under `/admin`."""

from fastapi import APIRouter

from gateway.admin import audit, kill, rollouts, shadow, status
from gateway.admin.documents import documents

router = APIRouter()
own = (kill.router, rollouts.router, audit.router, status.router, shadow.router)
for part in (documents("route"), documents("upstream"), documents("key"), *own):
    router.include_router(part)
