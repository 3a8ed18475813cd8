"""All endpoints under `/admin`."""

from fastapi import APIRouter

from gateway.admin import audit, kill, status
from gateway.admin.documents import documents

router = APIRouter()
for part in (documents("route"), documents("upstream"), documents("key"), kill.router, audit.router, status.router):
    router.include_router(part)
