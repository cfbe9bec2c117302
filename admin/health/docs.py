"""Health in the OpenAPI document."""

from admin.docs.operations import Operation, Route
from admin.health.schemas import HealthAnswer

OPERATIONS: dict[Route, Operation] = {
    ("GET", "/api/health"): Operation(
        name="getHealth",
        tag="Health",
        summary="Is the process there?",
        text="Nothing else is looked at.",
        answer=HealthAnswer,
        is_open=True,
    ),
    ("GET", "/api/health/ready"): Operation(
        name="getReadiness",
        tag="Health",
        summary="Can it work?",
        text="PostgreSQL answers and has every migration.",
        answer=HealthAnswer,
        errors=(503,),
        is_open=True,
    ),
}
