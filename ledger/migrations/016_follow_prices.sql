-- Whoever prices calls reads the whole book, and nothing else.

GRANT SELECT ON price_changes, prices, contracts, aliases TO pricing;
CREATE POLICY pricing_all ON prices FOR SELECT TO pricing USING (true);
CREATE POLICY pricing_all ON contracts FOR SELECT TO pricing USING (true);
