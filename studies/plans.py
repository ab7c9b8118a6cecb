"""The plans by name, as `python -m studies.compare --plan NAME` takes them; importing this makes them known."""

from __future__ import annotations

from studies.decomposed import DECOMPOSED, NOISES, SYSTEMS
from studies.given_plans import GIVEN_PLANS
from studies.paper_plans import PAPER_PLANS
from studies.vdm_plans import VDM_PLANS
from videofusion.comparison.plan import PLANS

PLANS.update({plan.name: plan for plan in (DECOMPOSED, SYSTEMS, *PAPER_PLANS, *VDM_PLANS, *GIVEN_PLANS, NOISES)})
