"""HTTP as both clients must speak it: connections, heads, deadlines, addresses."""
