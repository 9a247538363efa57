"""A call is under way while the library is upgraded: it is answered, and the next is refused."""

from palace_lab.plan import Plan
from palace_lab.plan.model import Process
from palace_lab.plan.servers import OTHER, SHAPE
from palace_lab.plan.steps import Begin, Close, Do, Finish, Go, Paused, Upgrade
from palace_lab.scenario import Scenario
from palace_store.fixes import Fixes

scenario = Scenario(
    system="s0",
    reports=("mempalace#899",),
    plan=Plan(
        shape=SHAPE,
        processes=(
            Process("server", target="mcp", may_refuse=True, options={"told_stale": "error"}),
            Process("holder", target="triples"),
        ),
        steps=(
            Do("server", "tell", {"n": 1}),
            Do("holder", "hold"),
            Begin("server", "tell", {"n": 2, "pause": True}),
            Paused("server", "in-flight"),
            Upgrade("server", library=OTHER),
            Do("holder", "release"),
            Go("server"),
            Finish("server"),
            Do("server", "tell", {"n": 3}),
            Close("server"),
            Close("holder"),
        ),
        observers=("triples",),
    ),
    off=Fixes.all().without("stale_check", "refuse_writes"),
    as_reported=Fixes.reported("stale-server"),
    accepts={"*": "stale-ack"},
    releases=("1.5.9",),
    nightly=True,
)
