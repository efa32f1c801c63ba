"""The planner: SELECT to partial, merge, recompute and finish, as typed syntax trees; what is refused, and why."""
