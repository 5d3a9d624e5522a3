"""Parking bays: free or taken."""
