CREATE TABLE "abandoned_entries" (
	"id" uuid PRIMARY KEY NOT NULL,
	"abandoned_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "balance_entries" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "balance_entries_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"user_id" bigint NOT NULL,
	"type" text NOT NULL,
	"amount" bigint NOT NULL,
	"balance_after" bigint NOT NULL,
	"order_id" uuid,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "balance_entries_type" CHECK ("balance_entries"."type" in ('CHARGE', 'USE', 'REFUND')),
	CONSTRAINT "balance_entries_amount" CHECK ("balance_entries"."amount" > 0),
	CONSTRAINT "balance_entries_after" CHECK ("balance_entries"."balance_after" >= 0),
	CONSTRAINT "balance_entries_order" CHECK (("balance_entries"."type" = 'CHARGE') = ("balance_entries"."order_id" is null))
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"user_id" bigint NOT NULL,
	"route" text NOT NULL,
	"key" text NOT NULL,
	"fingerprint" text NOT NULL,
	"status" integer NOT NULL,
	"answer" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "idempotency_keys_user_id_route_key_pk" PRIMARY KEY("user_id","route","key")
);
--> statement-breakpoint
CREATE TABLE "order_items" (
	"order_id" uuid NOT NULL,
	"product_id" bigint NOT NULL,
	"line" integer NOT NULL,
	"name" text NOT NULL,
	"quantity" integer NOT NULL,
	"unit_price" bigint NOT NULL,
	"amount" bigint NOT NULL,
	CONSTRAINT "order_items_order_id_product_id_pk" PRIMARY KEY("order_id","product_id"),
	CONSTRAINT "order_items_quantity" CHECK ("order_items"."quantity" > 0),
	CONSTRAINT "order_items_amount" CHECK ("order_items"."unit_price" > 0 and "order_items"."amount" = "order_items"."unit_price" * "order_items"."quantity")
);
--> statement-breakpoint
CREATE TABLE "orders" (
	"id" uuid PRIMARY KEY NOT NULL,
	"user_id" bigint NOT NULL,
	"status" text NOT NULL,
	"total_amount" bigint NOT NULL,
	"discount_amount" bigint NOT NULL,
	"final_amount" bigint NOT NULL,
	"coupon_id" uuid,
	"created_at" timestamp (3) with time zone NOT NULL,
	"canceled_at" timestamp (3) with time zone,
	"cancellation_id" uuid,
	CONSTRAINT "orders_user" CHECK ("orders"."user_id" > 0),
	CONSTRAINT "orders_status" CHECK ("orders"."status" in ('PAID', 'FAILED', 'CANCELED')),
	CONSTRAINT "orders_total" CHECK ("orders"."total_amount" > 0),
	CONSTRAINT "orders_discount" CHECK ("orders"."discount_amount" >= 0),
	CONSTRAINT "orders_final" CHECK ("orders"."final_amount" > 0 and "orders"."final_amount" = "orders"."total_amount" - "orders"."discount_amount"),
	CONSTRAINT "orders_cancellation" CHECK (("orders"."status" = 'CANCELED') = ("orders"."canceled_at" is not null) and ("orders"."status" = 'CANCELED') = ("orders"."cancellation_id" is not null))
);
--> statement-breakpoint
CREATE TABLE "outbox_events" (
	"position" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "outbox_events_position_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"event_id" uuid NOT NULL,
	"type" text NOT NULL,
	"order_id" uuid NOT NULL,
	"occurred_at" timestamp (3) with time zone NOT NULL,
	"payload" json NOT NULL,
	CONSTRAINT "outbox_events_event_id" UNIQUE("event_id"),
	CONSTRAINT "outbox_events_once" UNIQUE("order_id","type"),
	CONSTRAINT "outbox_events_type" CHECK ("outbox_events"."type" in ('order.paid', 'order.canceled'))
);
--> statement-breakpoint
CREATE TABLE "payments" (
	"id" uuid PRIMARY KEY NOT NULL,
	"order_id" uuid NOT NULL,
	"type" text DEFAULT 'BALANCE' NOT NULL,
	"status" text NOT NULL,
	"amount" bigint NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "payments_order" UNIQUE("order_id"),
	CONSTRAINT "payments_type" CHECK ("payments"."type" = 'BALANCE'),
	CONSTRAINT "payments_status" CHECK ("payments"."status" in ('COMPLETED', 'FAILED', 'CANCELED')),
	CONSTRAINT "payments_amount" CHECK ("payments"."amount" > 0)
);
--> statement-breakpoint
CREATE TABLE "products" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "products_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"name" text NOT NULL,
	"price" bigint NOT NULL,
	"stock" integer NOT NULL,
	"initial_stock" integer NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "products_price" CHECK ("products"."price" > 0),
	CONSTRAINT "products_stock" CHECK ("products"."stock" >= 0),
	CONSTRAINT "products_initial_stock" CHECK ("products"."initial_stock" >= 0)
);
--> statement-breakpoint
CREATE TABLE "restocks" (
	"id" uuid PRIMARY KEY NOT NULL,
	"product_id" bigint NOT NULL,
	"quantity" integer NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "restocks_quantity" CHECK ("restocks"."quantity" > 0)
);
--> statement-breakpoint
CREATE TABLE "user_balances" (
	"user_id" bigint PRIMARY KEY NOT NULL,
	"balance" bigint NOT NULL,
	"version" integer NOT NULL,
	CONSTRAINT "user_balances_user" CHECK ("user_balances"."user_id" > 0),
	CONSTRAINT "user_balances_limits" CHECK ("user_balances"."balance" >= 0 and "user_balances"."balance" < 10000000)
);
--> statement-breakpoint
ALTER TABLE "balance_entries" ADD CONSTRAINT "balance_entries_user_id_user_balances_user_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."user_balances"("user_id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "order_items" ADD CONSTRAINT "order_items_order_id_orders_id_fk" FOREIGN KEY ("order_id") REFERENCES "public"."orders"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "order_items" ADD CONSTRAINT "order_items_product_id_products_id_fk" FOREIGN KEY ("product_id") REFERENCES "public"."products"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "orders" ADD CONSTRAINT "orders_coupon_id_coupons_id_fk" FOREIGN KEY ("coupon_id") REFERENCES "public"."coupons"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "outbox_events" ADD CONSTRAINT "outbox_events_order_id_orders_id_fk" FOREIGN KEY ("order_id") REFERENCES "public"."orders"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "payments" ADD CONSTRAINT "payments_order_id_orders_id_fk" FOREIGN KEY ("order_id") REFERENCES "public"."orders"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "restocks" ADD CONSTRAINT "restocks_product_id_products_id_fk" FOREIGN KEY ("product_id") REFERENCES "public"."products"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "abandoned_entries_age" ON "abandoned_entries" USING btree ("abandoned_at");--> statement-breakpoint
CREATE INDEX "balance_entries_user_newest" ON "balance_entries" USING btree ("user_id","id" DESC NULLS FIRST);--> statement-breakpoint
CREATE INDEX "idempotency_keys_age" ON "idempotency_keys" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "order_items_product" ON "order_items" USING btree ("product_id");--> statement-breakpoint
CREATE INDEX "orders_user_newest" ON "orders" USING btree ("user_id","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);--> statement-breakpoint
CREATE UNIQUE INDEX "orders_one_live_per_coupon" ON "orders" USING btree ("coupon_id") WHERE "orders"."status" = 'PAID';--> statement-breakpoint
CREATE INDEX "restocks_product" ON "restocks" USING btree ("product_id");