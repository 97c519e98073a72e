CREATE TABLE "popular_product_snapshots" (
	"date" date NOT NULL,
	"rank" integer NOT NULL,
	"product_id" bigint NOT NULL,
	"name" text NOT NULL,
	"price" bigint NOT NULL,
	"sold_quantity" integer NOT NULL,
	CONSTRAINT "popular_product_snapshots_date_rank_pk" PRIMARY KEY("date","rank"),
	CONSTRAINT "popular_product_snapshots_rank" CHECK ("popular_product_snapshots"."rank" between 1 and 5),
	CONSTRAINT "popular_product_snapshots_sold" CHECK ("popular_product_snapshots"."sold_quantity" > 0)
);
--> statement-breakpoint
CREATE TABLE "popular_snapshots" (
	"date" date PRIMARY KEY NOT NULL,
	"taken_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "outbox_events" ADD COLUMN "attempts" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "outbox_events" ADD COLUMN "due_at" timestamp (3) with time zone DEFAULT '-infinity' NOT NULL;--> statement-breakpoint
ALTER TABLE "outbox_events" ADD COLUMN "delivered_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "outbox_events" ADD COLUMN "parked_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "outbox_events" ADD COLUMN "last_error" text;--> statement-breakpoint
ALTER TABLE "popular_product_snapshots" ADD CONSTRAINT "popular_product_snapshots_date_popular_snapshots_date_fk" FOREIGN KEY ("date") REFERENCES "public"."popular_snapshots"("date") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "popular_product_snapshots" ADD CONSTRAINT "popular_product_snapshots_product_id_products_id_fk" FOREIGN KEY ("product_id") REFERENCES "public"."products"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "coupons_expiring" ON "coupons" USING btree ("expires_at") WHERE "coupons"."status" = 'AVAILABLE';--> statement-breakpoint
CREATE INDEX "orders_paid_by_day" ON "orders" USING btree ("created_at") WHERE "orders"."status" = 'PAID';--> statement-breakpoint
CREATE INDEX "outbox_events_undelivered" ON "outbox_events" USING btree ("position") WHERE "outbox_events"."delivered_at" is null;--> statement-breakpoint
CREATE INDEX "outbox_events_delivered" ON "outbox_events" USING btree ("delivered_at") WHERE "outbox_events"."delivered_at" is not null;