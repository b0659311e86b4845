"""The storm: the whole system on virtual time, under weather, breakdowns and people of a seed."""
