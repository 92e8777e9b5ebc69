-- What changes here is told to whoever follows: role `capture` reads the log of changes of these tables and no others.

CREATE PUBLICATION tokenledger_configuration FOR TABLE tenants, contracts, prices, aliases;

GRANT SELECT ON tenants, contracts, prices, aliases TO capture;
CREATE POLICY capture_all ON tenants FOR SELECT TO capture USING (true);
CREATE POLICY capture_all ON contracts FOR SELECT TO capture USING (true);
CREATE POLICY capture_all ON prices FOR SELECT TO capture USING (true);
