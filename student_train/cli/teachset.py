"""`understudy teachset`: make a teaching set, keep it, and account for it."""

import typer

from student_train.cli.teachset_add import add, rules
from student_train.cli.teachset_ask import ask_command
from student_train.cli.teachset_choose import choose, teachers
from student_train.cli.teachset_erase import erase, expire
from student_train.cli.teachset_export import export
from student_train.cli.teachset_init import init, status
from student_train.cli.teachset_judge import judge
from student_train.cli.teachset_lineage import lineage, register_model
from student_train.cli.teachset_permit import evaluate_permit
from student_train.cli.teachset_review import review
from student_train.cli.teachset_scan import scan
from student_train.cli.teachset_split import split
from student_train.cli.teachset_unsettle import unsettle
from student_train.cli.teachset_verify import verify

teachset = typer.Typer(
    help="Make a teaching set of what a gateway captured, keep it, and account for it.", no_args_is_help=True
)
teachset.command()(init)
teachset.command()(status)
teachset.command()(add)
teachset.command()(rules)
teachset.command()(scan)
teachset.command()(split)
teachset.command("ask")(ask_command)
teachset.command()(judge)
teachset.command()(choose)
teachset.command()(teachers)
teachset.add_typer(review, name="review")
teachset.command()(unsettle)
teachset.command("evaluate-permit")(evaluate_permit)
teachset.command()(export)
teachset.command()(verify)
teachset.command()(lineage)
teachset.command("register-model")(register_model)
teachset.command()(erase)
teachset.command()(expire)
