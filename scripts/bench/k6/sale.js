/**
 * One flash sale for k6 (syntax of 0.48) against a service that runs:
 *
 *   k6 run -e BASE_URL=http://127.0.0.1:3000 -e ADMIN_TOKEN=... scripts/bench/k6/sale.js
 *
 * USERS (10,000), COUPONS (100), UNITS (50), WARM_UP_S (10) and MAX_VUS (2,000) change the size. Users arrive whatever
 * was answered: half of them in the opening second, the others over the nine seconds after it. The exit code is 99 when
 * what the clients were told is not what the service holds, or a threshold was missed.
 */
import { check, sleep } from 'k6'
import exec from 'k6/execution'
import http from 'k6/http'
import { Counter, Gauge, Trend } from 'k6/metrics'

const number = (name, fallback) => Number(__ENV[name] || fallback)
const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:3000'
const USERS = number('USERS', 10000)
const COUPONS = number('COUPONS', 100)
const UNITS = number('UNITS', 50)
const WARM_UP_S = number('WARM_UP_S', 10)
const MAX_VUS = number('MAX_VUS', 2000)

const AFTER_S = 9
const IN_SPIKE = Math.ceil(USERS / 2)
const AFTER_SPIKE = Math.max(1, Math.floor((USERS - IN_SPIKE) / AFTER_S))
/** Set-up charges a few more than arrive: k6 may start an iteration more than its rate says. */
const SPARE = 10
const CHARGED = IN_SPIKE + AFTER_SPIKE * AFTER_S + 2 * SPARE
const BATCH = 100

const PRICE_WON = 50000
const CHARGE_WON = 100000

// What clients were told.
const issued = new Counter('told_coupon_issued')
const soldOut = new Counter('told_coupon_sold_out')
const paid = new Counter('told_order_paid')
const tooLate = new Counter('told_order_too_late')
const unexpected = new Counter('told_unexpected')
// How long an accepted and a refused call took, apart.
const acceptedMs = new Trend('accepted_duration', true)
const refusedMs = new Trend('refused_duration', true)
// What the service holds afterwards.
const heldIssued = new Gauge('held_coupon_issued')
const heldSold = new Gauge('held_units_sold')
const brokenRules = new Gauge('held_rules_broken')

export const options = {
  batch: 50,
  batchPerHost: 50,
  setupTimeout: '300s',
  teardownTimeout: '120s',
  scenarios: {
    warm_up: {
      executor: 'constant-arrival-rate',
      exec: 'look',
      rate: 50,
      duration: `${WARM_UP_S}s`,
      preAllocatedVUs: 20,
      maxVUs: 100,
    },
    opening: {
      executor: 'constant-arrival-rate',
      exec: 'buy',
      rate: IN_SPIKE,
      duration: '1s',
      startTime: `${WARM_UP_S}s`,
      preAllocatedVUs: Math.min(IN_SPIKE, MAX_VUS),
      maxVUs: Math.max(IN_SPIKE, MAX_VUS),
      gracefulStop: '60s',
      env: { FIRST: '0' },
    },
    after: {
      executor: 'constant-arrival-rate',
      exec: 'buy',
      rate: AFTER_SPIKE,
      duration: `${AFTER_S}s`,
      startTime: `${WARM_UP_S + 1}s`,
      preAllocatedVUs: Math.min(AFTER_SPIKE, MAX_VUS),
      maxVUs: MAX_VUS,
      gracefulStop: '60s',
      env: { FIRST: String(IN_SPIKE + SPARE) },
    },
  },
  thresholds: {
    // More users than coupons and units, so that both must go to the last one, and no further.
    told_coupon_issued: [`count==${Math.min(COUPONS, USERS)}`],
    told_order_paid: [`count==${Math.min(UNITS, USERS)}`],
    told_unexpected: ['count==0'],
    held_coupon_issued: [`value==${Math.min(COUPONS, USERS)}`],
    held_units_sold: [`value==${Math.min(UNITS, USERS)}`],
    held_rules_broken: ['value==0'],
    // A refusal is an answer here: nothing but a fault makes a check fail.
    checks: ['rate==1'],
    accepted_duration: ['p(99)<3000'],
    refused_duration: ['p(99)<1500'],
    dropped_iterations: ['count==0'],
  },
}

function post(path, body, headers) {
  const all = Object.assign({ 'Content-Type': 'application/json' }, headers)
  return http.post(BASE_URL + path, JSON.stringify(body), {
    headers: all,
    tags: { name: path.replace(/\d+/g, ':id') },
  })
}

function admin(path, body) {
  const answer = post(path, body, { Authorization: `Bearer ${__ENV.ADMIN_TOKEN}` })
  if (answer.status >= 300) throw new Error(`${path} answered ${answer.status}: ${answer.body}`)
  return answer.json()
}

export function setup() {
  // Users of this run alone, so that it can be repeated on the same data.
  const firstUser = Math.floor(Date.now() / 1000) * 100000
  for (let from = 0; from < CHARGED; from += BATCH) {
    const calls = []
    for (let user = from; user < Math.min(from + BATCH, CHARGED); user++) {
      calls.push([
        'POST',
        `${BASE_URL}/v1/users/${firstUser + user}/balance/charge`,
        JSON.stringify({ amount: CHARGE_WON }),
        { headers: { 'Content-Type': 'application/json' }, tags: { name: 'charge' } },
      ])
    }
    http.batch(calls).forEach((answer) => {
      if (answer.status !== 200) throw new Error(`a charge was answered ${answer.status}: ${answer.body}`)
    })
  }
  const product = admin('/v1/admin/products', { name: 'k6 cup', price: PRICE_WON, stock: UNITS })
  const opensAt = Date.now() + WARM_UP_S * 1000
  const policy = admin('/v1/admin/coupon-policies', {
    name: 'k6 coupon',
    discountType: 'AMOUNT',
    discountValue: 5000,
    totalQuantity: COUPONS,
    issueStartsAt: new Date(opensAt).toISOString(),
    issueEndsAt: new Date(opensAt + 86400000).toISOString(),
    validDays: 30,
  })
  admin('/v1/admin/cache/warm', { policyId: policy.id })
  return { firstUser, opensAt, productId: product.id, policyId: policy.id }
}

/** Before the opening: people look at the product and at what is popular. */
export function look(sale) {
  const answers = [
    http.get(`${BASE_URL}/v1/products/${sale.productId}`, { tags: { name: 'product' } }),
    http.get(`${BASE_URL}/v1/products/popular`, { tags: { name: 'popular' } }),
  ]
  for (const answer of answers) check(answer, { 'a read is answered': (read) => read.status === 200 })
}

/** One user: asks for a coupon, then for a unit, with the coupon where there is one. */
export function buy(sale) {
  const userId = sale.firstUser + Number(__ENV.FIRST) + exec.scenario.iterationInTest
  // The service's clock decides; ours may be a little ahead of it.
  sleep(Math.max(0, sale.opensAt - Date.now()) / 1000)
  let coupon = issue(sale.policyId, userId)
  for (let tries = 0; tries < 20 && codeOf(coupon) === 'COUPON_NOT_STARTED'; tries++) {
    sleep(0.1)
    coupon = issue(sale.policyId, userId)
  }
  count(coupon, issued, 'COUPON_SOLD_OUT', soldOut)

  const body = { userId, items: [{ productId: sale.productId, quantity: 1 }] }
  if (coupon.status === 201) body.couponId = coupon.json('id')
  const order = post('/v1/orders', body, { 'Idempotency-Key': `k6 ${userId}` })
  count(order, paid, 'STOCK_INSUFFICIENT', tooLate)
}

function issue(policyId, userId) {
  return post(`/v1/coupon-policies/${policyId}/issue`, { userId })
}

function codeOf(answer) {
  return answer.status >= 400 && answer.body ? answer.json('code') : undefined
}

function count(answer, accepted, refusalCode, refused) {
  const isRefused = codeOf(answer) === refusalCode
  check(answer, { 'accepted or sold out': () => answer.status === 201 || isRefused })
  if (answer.status === 201) {
    accepted.add(1)
    acceptedMs.add(answer.timings.duration)
  } else if (isRefused) {
    refused.add(1)
    refusedMs.add(answer.timings.duration)
  } else {
    unexpected.add(1)
  }
}

/** What the service holds, as metrics that the thresholds compare with what the clients were told. */
export function teardown(sale) {
  const policy = http.get(`${BASE_URL}/v1/coupon-policies/${sale.policyId}`).json()
  const product = http.get(`${BASE_URL}/v1/products/${sale.productId}`).json()
  const verdict = admin('/v1/admin/audit', {})
  heldIssued.add(policy.totalQuantity - policy.remainingQuantity)
  heldSold.add(UNITS - product.stock)
  const broken = verdict.rules.filter((rule) => rule.violated > 0)
  brokenRules.add(broken.length)
  for (const rule of broken) console.error(`audit: ${rule.rule}: ${JSON.stringify(rule.violations)}`)
}
