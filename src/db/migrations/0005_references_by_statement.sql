-- What the rows of an order refer to is looked at once a statement. A foreign key does so once a row, and locks the row
-- referred to each time, in case somebody deletes it: a third of what an order took Postgres (docs/design.md).
-- Here nobody can delete it, so to look is enough.
-- All of it at once, in the order in which orders come to them: an upgrade during a sale would else run into deadlocks.
LOCK TABLE "products", "user_balances", "orders", "payments", "outbox_events", "order_items", "balance_entries";--> statement-breakpoint
ALTER TABLE "balance_entries" DROP CONSTRAINT "balance_entries_user_id_user_balances_user_id_fk";--> statement-breakpoint
ALTER TABLE "order_items" DROP CONSTRAINT "order_items_order_id_orders_id_fk";--> statement-breakpoint
ALTER TABLE "order_items" DROP CONSTRAINT "order_items_product_id_products_id_fk";--> statement-breakpoint
ALTER TABLE "outbox_events" DROP CONSTRAINT "outbox_events_order_id_orders_id_fk";--> statement-breakpoint
ALTER TABLE "payments" DROP CONSTRAINT "payments_order_id_orders_id_fk";--> statement-breakpoint

-- Fails as a foreign key does.
CREATE FUNCTION refuse_orphan(missing text, child text, rule text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE foreign_key_violation USING MESSAGE = format('%s: there is no such %s', child, missing), TABLE = child, CONSTRAINT = rule;
END
$$;--> statement-breakpoint

-- A function for each table that is referred to: one for all would need dynamic SQL, which is planned at each call.
CREATE FUNCTION require_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM added WHERE NOT EXISTS (SELECT FROM public.orders WHERE orders.id = added.order_id)) THEN
    PERFORM public.refuse_orphan('order', TG_TABLE_NAME, TG_NAME);
  END IF;
  RETURN NULL;
END
$$;--> statement-breakpoint
CREATE FUNCTION require_products() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM added WHERE NOT EXISTS (SELECT FROM public.products WHERE products.id = added.product_id)) THEN
    PERFORM public.refuse_orphan('product', TG_TABLE_NAME, TG_NAME);
  END IF;
  RETURN NULL;
END
$$;--> statement-breakpoint
CREATE FUNCTION require_balances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM added WHERE NOT EXISTS (SELECT FROM public.user_balances WHERE user_balances.user_id = added.user_id)) THEN
    PERFORM public.refuse_orphan('balance', TG_TABLE_NAME, TG_NAME);
  END IF;
  RETURN NULL;
END
$$;--> statement-breakpoint
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE restrict_violation USING MESSAGE = format('%s: such rows stay, and with them their keys and what they refer to', TG_TABLE_NAME),
    TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END
$$;--> statement-breakpoint

CREATE TRIGGER "payments_order" AFTER INSERT ON "payments"
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_orders();--> statement-breakpoint
CREATE TRIGGER "outbox_events_order" AFTER INSERT ON "outbox_events"
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_orders();--> statement-breakpoint
CREATE TRIGGER "order_items_order" AFTER INSERT ON "order_items"
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_orders();--> statement-breakpoint
CREATE TRIGGER "order_items_product" AFTER INSERT ON "order_items"
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_products();--> statement-breakpoint
CREATE TRIGGER "balance_entries_user" AFTER INSERT ON "balance_entries"
  REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION require_balances();--> statement-breakpoint

CREATE TRIGGER "payments_stay" BEFORE UPDATE OF "order_id" ON "payments"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "outbox_events_stay" BEFORE UPDATE OF "order_id" ON "outbox_events"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "order_items_stay" BEFORE UPDATE OF "order_id", "product_id" ON "order_items"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "balance_entries_stay" BEFORE UPDATE OF "user_id" ON "balance_entries"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "orders_stay" BEFORE DELETE OR TRUNCATE OR UPDATE OF "id" ON "orders"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "products_stay" BEFORE DELETE OR TRUNCATE OR UPDATE OF "id" ON "products"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();--> statement-breakpoint
CREATE TRIGGER "user_balances_stay" BEFORE DELETE OR TRUNCATE OR UPDATE OF "user_id" ON "user_balances"
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
