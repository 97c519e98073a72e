/**
 * What the users of sale.yml do. Artillery runs this in a single worker, so a number counted up here is a user of its
 * own. sale.ts sees to that, and sets SALE.
 */
import { setTimeout as delay } from 'node:timers/promises'

const { firstUser, policyId, productId, opensAt } = JSON.parse(process.env.SALE ?? '{}')
/** Who comes earlier does not wait for the opening. */
const PATIENCE_MS = 1500
/** The service's clock decides; ours may be a little ahead of it. */
const AGAIN_MS = 100
const TRIES = 50

let arrived = 0

export async function arrive({ vars }) {
  Object.assign(vars, { userId: firstUser + arrived++, policyId, productId, isBuyer: false, tries: 0 })
}

export async function waitForOpening({ vars }) {
  const left = opensAt - Date.now()
  vars.isBuyer = left < PATIENCE_MS
  if (vars.isBuyer && left > 0) await delay(left)
}

export async function askForCoupon(request, { vars }) {
  vars.tries++
  if (vars.tries > 1) await delay(AGAIN_MS)
  request.json = { userId: vars.userId }
}

export async function hearOfCoupon(_, response, { vars }, events) {
  const { id, code } = JSON.parse(response.body)
  vars.code = code
  vars.couponId = response.statusCode === 201 ? id : undefined
  if (isWorthAnotherTry(vars)) return
  told(events, response, { accepted: 'issued', refused: 'soldOut', refusal: 'COUPON_SOLD_OUT' })
}

export async function askForOrder(request, { vars }) {
  const { userId, couponId } = vars
  request.headers = { ...request.headers, 'idempotency-key': 'the only order' }
  request.json = { userId, items: [{ productId, quantity: 1 }], couponId: couponId ?? null }
}

export async function hearOfOrder(_, response, __, events) {
  told(events, response, { accepted: 'paid', refused: 'tooLate', refusal: 'STOCK_INSUFFICIENT' })
}

export function isTooEarly({ vars }, next) {
  next(isWorthAnotherTry(vars))
}

function isWorthAnotherTry({ code, tries }) {
  return code === 'COUPON_NOT_STARTED' && tries < TRIES
}

function told(events, response, { accepted, refused, refusal }) {
  if (response.statusCode === 201) events.emit('counter', `told.${accepted}`, 1)
  else if (JSON.parse(response.body).code === refusal) events.emit('counter', `told.${refused}`, 1)
  else events.emit('counter', 'told.unexpected', 1)
}
