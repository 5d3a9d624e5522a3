"""Parcel lockers: compartments, their doors and what is in them."""
