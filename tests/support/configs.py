"""Gateway configs for tests."""

from typing import Any

from tests.support.upstream import ScriptedUpstream

STUDENT_PRICE = {"input": 0.10, "output": 0.40}
TEACHER_PRICE = {"input": 2.50, "output": 10.00}

NO_FALLBACK = {"order": [], "retries": 0}


def two_upstreams(student: ScriptedUpstream, teacher: ScriptedUpstream, **route: Any) -> dict[str, Any]:
    """One route `support-chat` over a student and a teacher; `route` changes the route."""
    return {
        "upstreams": {
            "small": {"base_url": student.base_url, "model": "student-model", "price": STUDENT_PRICE},
            "big": {
                "base_url": teacher.base_url,
                "model": "teacher-model",
                "api_key": "teacher-secret",
                "price": TEACHER_PRICE,
            },
        },
        "routes": {"support-chat": {"teacher": "big", "student": "small", "student_percent": 50, **route}},
    }
