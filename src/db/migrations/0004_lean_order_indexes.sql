ALTER TABLE "payments" DROP CONSTRAINT "payments_order";--> statement-breakpoint
DROP INDEX "order_items_product";--> statement-breakpoint
DROP INDEX "orders_one_live_per_coupon";--> statement-breakpoint
ALTER TABLE "payments" DROP CONSTRAINT "payments_pkey";--> statement-breakpoint
ALTER TABLE "payments" ADD PRIMARY KEY ("order_id");--> statement-breakpoint
CREATE UNIQUE INDEX "orders_one_live_per_coupon" ON "orders" USING btree ("coupon_id") WHERE "orders"."status" = 'PAID' and "orders"."coupon_id" is not null;
