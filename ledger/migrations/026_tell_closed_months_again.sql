-- A closed month is told again from the roll-ups, which stay when the books it was charged in are dropped.

GRANT SELECT ON rollups_15m, compaction TO keeper;
CREATE POLICY keeper_all ON rollups_15m FOR SELECT TO keeper USING (true);
