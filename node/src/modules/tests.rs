//! Modules over a driver that the test plays.
