"""A plan is data: processes, steps, faults and a seed. Everything else is done to a plan."""

from palace_lab.plan.mistakes import check_plan as check_plan
from palace_lab.plan.model import Plan as Plan
from palace_lab.plan.text import dump_plan as dump_plan
from palace_lab.plan.text import load_plan as load_plan
