-- The policy of a coupon is looked at once a statement, as in 0005: the foreign key took a quarter of what a coupon costs
-- Postgres. Both locks at once, in the order in which grants come to them.
LOCK TABLE "coupon_policies", "coupons";--> statement-breakpoint
ALTER TABLE "coupons" DROP CONSTRAINT "coupons_policy_id_coupon_policies_id_fk";--> statement-breakpoint
CREATE FUNCTION require_policies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- Of few policies: a batch has many coupons of the same.
  IF EXISTS (SELECT FROM (SELECT DISTINCT policy_id FROM added) AS named
      WHERE NOT EXISTS (SELECT FROM public.coupon_policies WHERE coupon_policies.id = named.policy_id)) THEN
    PERFORM public.refuse_orphan('policy', TG_TABLE_NAME, TG_NAME);
  END IF;
  RETURN NULL;
END
$$;--> statement-breakpoint
CREATE TRIGGER "coupons_policy" AFTER INSERT ON "coupons"
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_policies();--> statement-breakpoint
CREATE TRIGGER "coupons_stay" BEFORE UPDATE OF "policy_id" ON "coupons"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "coupon_policies_stay" BEFORE DELETE OR TRUNCATE OR UPDATE OF "id" ON "coupon_policies"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
