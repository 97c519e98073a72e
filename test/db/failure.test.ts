import postgres from 'postgres'
import { expect, it } from 'vitest'
import { classifyFailure, isDatabaseUnavailable, isLostRace, NotCommitted } from '../../src/db/failure.ts'
import { Unavailable } from '../../src/errors.ts'

const answered = (code: string) =>
  Object.assign(Object.create(postgres.PostgresError.prototype) as Error, { message: code, code })
const coded = (code: string) => Object.assign(new Error(code), { code })

it.each([
  // The data of one member
  ['22003', 'numeric value out of range', 'member', false],
  ['22P02', 'invalid text representation', 'member', false],
  ['22012', 'division by zero', 'member', false],
  ['23502', 'not null', 'member', false],
  ['23503', 'foreign key', 'member', false],
  ['23505', 'unique', 'member', false],
  ['23514', 'check', 'member', false],
  // Chance
  ['40001', 'serialization failure', 'transient', true],
  ['40P01', 'deadlock', 'transient', true],
  ['SC001', 'lost race of an optimistic lock', 'transient', false],
  // Away, starting, stopping, full, overdue
  ['08006', 'connection failure', 'unknown', true],
  ['08P01', 'protocol violation', 'unknown', true],
  ['25P02', 'refused after a failure', 'unknown', true],
  ['25P03', 'idle in transaction for too long', 'unknown', true],
  ['53100', 'disk full', 'unknown', true],
  ['53300', 'too many connections', 'unknown', true],
  ['55P03', 'lock not available', 'unknown', true],
  ['57014', 'statement timeout', 'unknown', true],
  ['57P01', 'administrator shutdown', 'unknown', true],
  ['57P02', 'crash shutdown', 'unknown', true],
  ['57P03', 'starting up', 'unknown', true],
  ['58030', 'input or output error', 'unknown', true],
  // Bugs, and an installation that does not fit
  ['0A000', 'feature not supported', 'final', false],
  ['25006', 'read-only transaction', 'final', false],
  ['28P01', 'wrong password', 'final', false],
  ['3D000', 'no such database', 'final', false],
  ['40002', 'integrity constraint at commit', 'final', false],
  ['42601', 'syntax error', 'final', false],
  ['42P01', 'no such table', 'final', false],
  ['55000', 'not in the right state', 'final', false],
  ['57000', 'operator intervention', 'final', false],
  ['P0001', 'raised by a function', 'final', false],
  ['XX000', 'internal error', 'final', false],
] as const)('takes %s (%s) for %s, 503: %s', (code, _, fault, unavailable) => {
  const error = answered(code)
  expect([classifyFailure(error), isDatabaseUnavailable(error)]).toEqual([fault, unavailable])
})

it.each([
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
])('takes %s of the driver for a commit that may have gone through', (code) => {
  expect([classifyFailure(coded(code)), isDatabaseUnavailable(coded(code))]).toEqual(['unknown', true])
})

it('takes Unavailable for a commit that may have gone through', () => {
  const error = new Unavailable('the transaction passed its deadline')
  expect([classifyFailure(error), isDatabaseUnavailable(error)]).toEqual(['unknown', true])
})

it('takes NotCommitted for rolled back', () => {
  const error = new NotCommitted('the connection was lost in a transaction')
  expect([classifyFailure(error), isDatabaseUnavailable(error)]).toEqual(['final', true])
})

it('knows a lost race from other failures', () => {
  expect(['SC001', '40001', '23505'].map((code) => isLostRace(answered(code)))).toEqual([true, false, false])
  expect(isLostRace(coded('SC001'))).toBe(false)
})

it.each([
  ['a bug', new TypeError('undefined is not a function')],
  ['an error with a code of its own', coded('ERR_INVALID_ARG_TYPE')],
  ['a SQLSTATE that Postgres did not send', coded('40001')],
  ['an error with a number for a code', Object.assign(new Error('?'), { code: 8006 })],
  ['a string', 'ECONNRESET'],
  ['nothing', undefined],
])('takes %s for a bug', (_, error) => {
  expect([classifyFailure(error), isDatabaseUnavailable(error)]).toEqual(['final', false])
})
