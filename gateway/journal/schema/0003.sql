-- A gap is added to the others of its day.
CREATE INDEX gap_of_day ON gap (day, lane, device, reason, last);
