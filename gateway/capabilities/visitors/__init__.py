"""Visitors: counted, booked, analysed."""
