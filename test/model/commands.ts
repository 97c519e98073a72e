import fc from 'fast-check'
import { type Answer, adminToken, type Harness, newPolicy } from '../setup/harness.ts'

/** A call to the service, with everything in it settled. */
export type Call =
  | { kind: 'charge'; userId: number; amount: number; key: string | undefined }
  | { kind: 'create product'; price: number; stock: number }
  | { kind: 'restock'; productId: number; quantity: number }
  | ({ kind: 'create policy' } & PolicyShape)
  | { kind: 'issue'; policyId: number; userId: number }
  | { kind: 'withdraw'; couponId: string }
  | { kind: 'order'; userId: number; items: Line[]; couponId: string | undefined; key: string | undefined }
  | { kind: 'cancel'; orderId: string; key: string | undefined }
  | { kind: 'wait'; ms: number }

interface Line {
  productId: number
  quantity: number
}

export interface PolicyShape {
  discountType: 'AMOUNT' | 'PERCENT'
  discountValue: number
  totalQuantity: number
  validDays: number
}

/** What can be named, by what was answered so far. */
export interface World {
  productIds: number[]
  policyIds: number[]
  coupons: { id: string; userId: number }[]
  orderIds: string[]
  /** calls that had a key, to be repeated */
  keyed: Call[]
}

export const newWorld = (): World => ({ productIds: [], policyIds: [], coupons: [], orderIds: [], keyed: [] })

/** A command makes a call out of the world as it is when its turn comes: it names things by their number in there. */
export interface Command extends fc.WithToStringMethod {
  toCall(world: World): Call
}

export const users = [1, 2, 3]
export const productName = 'Hairpin'
export const policyName = 'Opening sale'
const hour = 3_600_000
const nobodys = '01890000-0000-7000-8000-000000000000'

/** The nth of a list from its end; past it, and of an empty one, something that does not exist. */
function pick<Item>(list: Item[], nth: number, unknown: Item): Item {
  return nth === unknownNth ? unknown : (list.at(-1 - (nth % Math.max(1, list.length))) ?? unknown)
}

/** A command of plain choices, which fast-check can shrink and print. */
function commands<Choices>(
  kind: Call['kind'] | 'repeat',
  choices: fc.Arbitrary<Choices>,
  toCall: (choices: Choices, world: World) => Call,
) {
  return choices.map(
    (chosen): Command => ({
      toCall: (world) => toCall(chosen, world),
      [fc.toStringMethod]: () => `${kind} ${fc.stringify(chosen)}`,
    }),
  )
}

const unknownNth = 12
const user = fc.constantFrom(...users)
const nth = fc.oneof(
  { weight: 24, arbitrary: fc.nat(unknownNth - 1) },
  { weight: 1, arbitrary: fc.constant(unknownNth) },
)
const key = fc.option(fc.constantFrom('k', 'l', 'm', 'n', 'o', 'p'), { nil: undefined, freq: 2 })

const charge = commands(
  'charge',
  fc.record({
    userId: user,
    amount: fc.constantFrom(10_000, 15_000, 100_000, 3_000_000, 3_000_000, 9_900_000, 9999, 10_000_000),
    key,
  }),
  (chosen) => ({ kind: 'charge', ...chosen }),
)

const createProduct = commands(
  'create product',
  fc.record({ price: fc.constantFrom(1, 99, 3000, 3000, 7777, 60_000, 1_000_000), stock: fc.nat(12) }),
  (chosen) => ({ kind: 'create product', ...chosen }),
)

const restock = commands(
  'restock',
  fc.record({ nth, quantity: fc.integer({ min: 1, max: 5 }) }),
  ({ nth, quantity }, world) => ({
    kind: 'restock',
    productId: pick(world.productIds, nth, 999_999_999),
    quantity,
  }),
)

const createPolicy = commands(
  'create policy',
  fc.record({
    discount: fc.constantFrom(
      ['AMOUNT', 100] as const,
      ['AMOUNT', 3000] as const,
      ['AMOUNT', 50_000] as const,
      ['PERCENT', 7] as const,
      ['PERCENT', 99] as const,
      ['PERCENT', 100] as const,
    ),
    totalQuantity: fc.integer({ min: 1, max: 3 }),
    validDays: fc.integer({ min: 1, max: 2 }),
  }),
  ({ discount: [discountType, discountValue], ...rest }) => ({
    kind: 'create policy',
    discountType,
    discountValue,
    ...rest,
  }),
)

const issue = commands('issue', fc.record({ nth, userId: user }), ({ nth, userId }, world) => ({
  kind: 'issue',
  policyId: pick(world.policyIds, nth, 999_999_999),
  userId,
}))

const withdraw = commands('withdraw', fc.record({ nth }), ({ nth }, world) => ({
  kind: 'withdraw',
  couponId: pick(world.coupons, nth, { id: nobodys, userId: 0 }).id,
}))

const order = commands(
  'order',
  fc.record({
    userId: user,
    lines: fc.array(fc.record({ nth, quantity: fc.integer({ min: 1, max: 3 }) }), {
      minLength: 1,
      maxLength: 3,
    }),
    coupon: fc.option(fc.record({ nth, isOwn: fc.constantFrom(true, true, true, false) }), {
      nil: undefined,
      freq: 2,
    }),
    key,
  }),
  ({ userId, lines, coupon, key }, world) => {
    const items = lines.map(({ nth, quantity }) => ({
      productId: pick(world.productIds, nth, 999_999_999),
      quantity,
    }))
    const { isOwn = false, nth = 0 } = coupon ?? {}
    const coupons = world.coupons.filter((each) => !isOwn || each.userId === userId)
    const hasNone = coupon === undefined || (isOwn && coupons.length === 0)
    return {
      kind: 'order',
      userId,
      items: [...new Map(items.map((line) => [line.productId, line])).values()],
      couponId: hasNone ? undefined : pick(coupons, nth, { id: nobodys, userId: 0 }).id,
      key,
    }
  },
)

const cancel = commands('cancel', fc.record({ nth, key }), ({ nth, key }, world) => ({
  kind: 'cancel',
  orderId: pick(world.orderIds, nth, nobodys),
  key,
}))

const repeat = commands('repeat', fc.record({ nth }), ({ nth }, world) =>
  pick<Call>(world.keyed, nth, { kind: 'wait', ms: 0 }),
)

const wait = commands('wait', fc.record({ hours: fc.constantFrom(1, 25, 49) }), ({ hours }) => ({
  kind: 'wait',
  ms: hours * hour,
}))

/** Something to sell, something to pay with and coupons to take off, so that what follows has an effect. */
export const prelude = fc
  .tuple(
    fc.array(createProduct, { minLength: 1, maxLength: 3 }),
    fc.array(createPolicy, { minLength: 1, maxLength: 2 }),
    fc.array(charge, { minLength: 1, maxLength: 4 }),
    fc.array(issue, { minLength: 1, maxLength: 4 }),
  )
  .map((lists): Command[] => lists.flat())

/** Any command, the ones that matter most oftenest. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 10, arbitrary: order },
  { weight: 6, arbitrary: cancel },
  { weight: 4, arbitrary: charge },
  { weight: 4, arbitrary: issue },
  { weight: 5, arbitrary: repeat },
  { weight: 2, arbitrary: restock },
  { weight: 1, arbitrary: createProduct },
  { weight: 1, arbitrary: createPolicy },
  { weight: 1, arbitrary: withdraw },
  { weight: 2, arbitrary: wait },
)

/** Makes the call. A wait is none: the test owns the clock. */
export function send(harness: Harness, call: Exclude<Call, { kind: 'wait' }>): Promise<Answer> {
  const admin = { Authorization: `Bearer ${adminToken}` }
  const keyed = (key: string | undefined) => (key === undefined ? {} : { 'Idempotency-Key': key })
  switch (call.kind) {
    case 'charge':
      return harness.charge(call.userId, call.amount, keyed(call.key))
    case 'create product': {
      const { price, stock } = call
      return harness.post('/v1/admin/products', { name: productName, price, stock }, admin)
    }
    case 'restock':
      return harness.post(`/v1/admin/products/${call.productId}/restock`, { quantity: call.quantity }, admin)
    case 'create policy': {
      const { kind, ...shape } = call
      const body = { ...newPolicy(shape), issueEndsAt: '2999-01-01T00:00:00.000Z' }
      return harness.post('/v1/admin/coupon-policies', body, admin)
    }
    case 'issue':
      return harness.issue(call.policyId, call.userId)
    case 'withdraw':
      return harness.post(`/v1/admin/coupons/${call.couponId}/cancel`, undefined, admin)
    case 'order': {
      const { userId, items, couponId, key } = call
      return harness.post('/v1/orders', { userId, items, couponId }, keyed(key))
    }
    case 'cancel':
      return harness.cancel(call.orderId, call.key)
  }
}

/** Notes what an answer lets later commands name. */
export function note(world: World, call: Call, { status, body }: Answer): void {
  if ('key' in call && call.key !== undefined) world.keyed.push(call)
  const add = <Item>(list: Item[], item: Item) => void (list.includes(item) || list.push(item))
  if (call.kind === 'create product' && status === 201) add(world.productIds, body.id)
  if (call.kind === 'create policy' && status === 201) add(world.policyIds, body.id)
  if (call.kind === 'issue' && status === 201) world.coupons.push({ id: body.id, userId: body.userId })
  if (call.kind === 'order' && status === 201) add(world.orderIds, body.id)
  if (call.kind === 'order' && status === 402) add(world.orderIds, body.orderId)
}
