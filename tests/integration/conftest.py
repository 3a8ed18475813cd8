"""A gateway before a scripted student and teacher."""

import pytest

from tests.conftest import StartGateway
from tests.support.configs import NO_FALLBACK, two_upstreams
from tests.support.processes import GatewayProcess
from tests.support.upstream import ScriptedUpstream


@pytest.fixture
def to_student(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> GatewayProcess:
    """Everything goes to the student."""
    return gateway_process(two_upstreams(student, teacher, student_percent=100))


@pytest.fixture
def alone(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> GatewayProcess:
    """Everything goes to the student, and what it fails at stays failed."""
    return gateway_process(two_upstreams(student, teacher, student_percent=100, fallback=NO_FALLBACK))


@pytest.fixture
def to_teacher(gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream) -> GatewayProcess:
    """Everything goes to the teacher."""
    return gateway_process(two_upstreams(student, teacher, student_percent=0))
