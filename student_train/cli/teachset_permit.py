"""`understudy teachset evaluate-permit`."""

from typing import Annotated

import typer

from student_train.cli.teachset_tell import SetArgument, fail, opened, say


def evaluate_permit(
    path: SetArgument,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="What is to be measured; none: say what is left.")
    ] = None,
    why: Annotated[str, typer.Option(help="What for; it goes into the ledger.")] = "evaluation",
    budget: Annotated[int | None, typer.Option(min=0, help="Set how many looks there may be in all.")] = None,
    reason: Annotated[str, typer.Option(help="Why the budget is changed.")] = "",
    most_alike: Annotated[
        float, typer.Option(min=0, max=1, help="The share of the holdout that may be like something that is taught.")
    ] = 0.01,
) -> None:
    """Permit one evaluation on the holdout: count it against the budget, and certify that little of it was taught.

    Evaluations that open the set with `open_for_evaluation` do the same by themselves; this is for those that do not.
    """
    from student_train.teachset import permit  # needs numpy, which other commands do without

    with opened(path, holdout=True) as teaching:
        if budget is not None:
            if not reason.strip():
                fail("--budget: expected --reason as well: who reads the results will want to know")
            permit.set_budget(teaching, budget, reason)
        if model is not None:
            made = permit.permit(teaching, model, why, most_alike)
            certificate = made.certificate
            say(
                f"Look {made.number} of {made.budget}. Of {certificate.holdout} examples of the holdout "
                f"{certificate.alike} are like one of {certificate.taught} that are taught; "
                f"{certificate.runs_known:.1%} of their runs of 13 words occur there."
            )
        else:
            used, allowed = permit.budget(path)
            say(f"{used} of {allowed} looks at the holdout are used.")
