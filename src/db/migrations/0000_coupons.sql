CREATE TABLE "coupon_policies" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "coupon_policies_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"name" text NOT NULL,
	"discount_type" text NOT NULL,
	"discount_value" bigint NOT NULL,
	"total_quantity" integer NOT NULL,
	"issued_quantity" integer DEFAULT 0 NOT NULL,
	"issue_starts_at" timestamp (3) with time zone NOT NULL,
	"issue_ends_at" timestamp (3) with time zone NOT NULL,
	"valid_days" integer NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "coupon_policies_discount_type" CHECK ("coupon_policies"."discount_type" in ('AMOUNT', 'PERCENT')),
	CONSTRAINT "coupon_policies_discount_value" CHECK ("coupon_policies"."discount_value" > 0 and ("coupon_policies"."discount_type" = 'AMOUNT' or "coupon_policies"."discount_value" <= 100)),
	CONSTRAINT "coupon_policies_total" CHECK ("coupon_policies"."total_quantity" > 0),
	CONSTRAINT "coupon_policies_issued" CHECK ("coupon_policies"."issued_quantity" between 0 and "coupon_policies"."total_quantity"),
	CONSTRAINT "coupon_policies_window" CHECK ("coupon_policies"."issue_ends_at" > "coupon_policies"."issue_starts_at"),
	CONSTRAINT "coupon_policies_valid_days" CHECK ("coupon_policies"."valid_days" > 0)
);
--> statement-breakpoint
CREATE TABLE "coupons" (
	"id" uuid PRIMARY KEY NOT NULL,
	"policy_id" bigint NOT NULL,
	"user_id" bigint NOT NULL,
	"rank" integer NOT NULL,
	"status" text DEFAULT 'AVAILABLE' NOT NULL,
	"issued_at" timestamp (3) with time zone NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"used_at" timestamp (3) with time zone,
	"order_id" uuid,
	CONSTRAINT "coupons_policy_user" UNIQUE("policy_id","user_id"),
	CONSTRAINT "coupons_policy_rank" UNIQUE("policy_id","rank"),
	CONSTRAINT "coupons_user" CHECK ("coupons"."user_id" > 0),
	CONSTRAINT "coupons_rank" CHECK ("coupons"."rank" > 0),
	CONSTRAINT "coupons_status" CHECK ("coupons"."status" in ('AVAILABLE', 'USED', 'EXPIRED', 'CANCELED')),
	CONSTRAINT "coupons_expiry" CHECK ("coupons"."expires_at" > "coupons"."issued_at"),
	CONSTRAINT "coupons_use" CHECK (("coupons"."status" = 'USED') = ("coupons"."order_id" is not null) and ("coupons"."status" = 'USED') = ("coupons"."used_at" is not null))
);
--> statement-breakpoint
CREATE TABLE "redis_runs" (
	"only_row" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"run_ids" text NOT NULL,
	"seen_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "redis_runs_only_row" CHECK ("redis_runs"."only_row")
);
--> statement-breakpoint
ALTER TABLE "coupons" ADD CONSTRAINT "coupons_policy_id_coupon_policies_id_fk" FOREIGN KEY ("policy_id") REFERENCES "public"."coupon_policies"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "coupons_user_newest" ON "coupons" USING btree ("user_id","issued_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);