//! Schedules that break a careless client.
