import { expect, it } from 'vitest'
import { parseScript, readScripts } from '../../src/redis/script-source.ts'

const scripts = new Map(readScripts().map((script) => [script.name, script]))

function textOf(name: string): string {
  return scripts.get(name)?.lua ?? ''
}

it.each([...scripts.values()])('$name keeps its contract', (script) => {
  expect(parseScript(script.name, script.lua)).toEqual(script)
  expect(script.keys.length).toBeGreaterThanOrEqual(1)
  expect(script.outcomes.length).toBeGreaterThanOrEqual(1)
})

it('reads keys and outcomes from the header', () => {
  expect(scripts.get('coupon.issue')).toEqual({
    name: 'coupon.issue',
    lua: textOf('coupon.issue'),
    keys: ['policy', 'pending', 'holder'],
    variableKeys: true,
    outcomes: ['NOT_LOADED', 'ADMITTED', 'ALREADY_ISSUED', 'IN_PROGRESS', 'NOT_STARTED', 'ENDED', 'SOLD_OUT'],
  })
  expect(scripts.get('stock.announce')).toMatchObject({
    keys: ['pending', 'loading'],
    variableKeys: false,
    outcomes: ['ANNOUNCED'],
  })
})

const issueOutcomes = 'NOT_LOADED, ADMITTED, ALREADY_ISSUED, IN_PROGRESS, NOT_STARTED, ENDED, SOLD_OUT'
const issueStart = `the code must begin with "local ${issueOutcomes} = 0, 1, 2, 3, 4, 5, 6"`

/** What is done to the text of a real script, in order, and what is said about it. */
const broken: {
  what: string
  script: string
  changes: [find: string | RegExp, replace: string][]
  says: string
}[] = [
  {
    what: 'a header with another name',
    script: 'coupon.issue',
    changes: [['-- coupon.issue: ', '-- coupon.grant: ']],
    says: 'the header must begin with "-- coupon.issue: "',
  },
  {
    what: 'no header',
    script: 'coupon.issue',
    changes: [[/^(--.*\n)+/, '']],
    says: 'the header must begin with "-- coupon.issue: "',
  },
  {
    what: 'a key that the header does not name',
    script: 'stock.announce',
    changes: [[/^-- KEYS\[2\].*\n/m, '']],
    says: 'the code uses KEYS[2], the header does not name it',
  },
  {
    what: 'a key more than the header names',
    script: 'coupon.load',
    changes: [["'HDEL', KEYS[1]", "'HDEL', KEYS[2]"]],
    says: 'the code uses KEYS[2], the header does not name it',
  },
  {
    what: 'a key that the code does not use',
    script: 'stock.announce',
    changes: [["'HDEL', KEYS[2]", "'HDEL', KEYS[1]"]],
    says: 'the code does not use KEYS[2] (loading)',
  },
  {
    what: 'a key that only a comment uses',
    script: 'stock.announce',
    changes: [["redis.call('HDEL', KEYS[2]", "-- redis.call('HDEL', KEYS[2]"]],
    says: 'the code does not use KEYS[2] (loading)',
  },
  {
    what: 'many keys that the code does not go through',
    script: 'coupon.settle',
    changes: [
      ['for i = 3, #KEYS do', 'for i = 3, 3 do'],
      [/KEYS\[2 \+ i\]/g, 'KEYS[3]'],
    ],
    says: 'the code does not use KEYS[3] (holder)',
  },
  {
    what: 'keys in another order',
    script: 'stock.announce',
    changes: [
      ['-- KEYS[1] pending', '-- KEYS[2] pending'],
      ['-- KEYS[2] loading', '-- KEYS[1] loading'],
    ],
    says: 'KEYS[2] is out of order in the header',
  },
  {
    what: 'a key before the last that stands for many',
    script: 'coupon.settle',
    changes: [['-- KEYS[2] pending', '-- KEYS[2..] pending']],
    says: 'only the last key may stand for many',
  },
  {
    what: 'no keys',
    script: 'coupon.load',
    changes: [
      [/^-- KEYS.*\n/m, ''],
      [/KEYS\[1\]/g, "'key'"],
    ],
    says: 'the header names no KEYS',
  },
  {
    what: 'an argument that the header does not name',
    script: 'coupon.load',
    changes: [[/^-- ARGV\[8\].*\n/m, '']],
    says: 'the code uses ARGV[8], the header does not name it',
  },
  {
    what: 'arguments in another order',
    script: 'stock.announce',
    changes: [['-- ARGV[1] kind', '-- ARGV[3] kind']],
    says: 'ARGV[3] is out of order in the header',
  },
  {
    what: 'no outcomes',
    script: 'coupon.load',
    changes: [[/^-- \d .*\n/gm, '']],
    says: 'the header names no outcomes',
  },
  {
    what: 'the last outcome missing in the header',
    script: 'coupon.issue',
    changes: [[/^-- 6 SOLD_OUT\n/m, '']],
    says: `the code must begin with "local ${issueOutcomes.replace(', SOLD_OUT', '')} = 0, 1, 2, 3, 4, 5"`,
  },
  {
    what: 'an outcome missing in the middle of the header',
    script: 'coupon.issue',
    changes: [[/^-- 4 NOT_STARTED\n/m, '']],
    says: 'outcome 5 is out of order in the header',
  },
  {
    what: 'an outcome missing in the code',
    script: 'coupon.issue',
    changes: [[', SOLD_OUT = 0, 1, 2, 3, 4, 5, 6', ' = 0, 1, 2, 3, 4, 5']],
    says: issueStart,
  },
  {
    what: 'other numbers in the code',
    script: 'coupon.issue',
    changes: [['= 0, 1, 2, 3, 4, 5, 6', '= 0, 1, 2, 3, 4, 6, 5']],
    says: issueStart,
  },
  {
    what: 'another order in the code',
    script: 'coupon.issue',
    changes: [[', ENDED, SOLD_OUT = ', ', SOLD_OUT, ENDED = ']],
    says: issueStart,
  },
  {
    what: 'outcomes that the code does not define',
    script: 'coupon.issue',
    changes: [[/^local NOT_LOADED.*\n/m, '']],
    says: issueStart,
  },
  {
    what: 'an outcome that is never given',
    script: 'coupon.issue',
    changes: [['if remaining - #made / 2 < 1 then return SOLD_OUT end', '']],
    says: 'the code never gives the outcome SOLD_OUT',
  },
  {
    what: 'an outcome that only a comment gives',
    script: 'coupon.issue',
    changes: [['if remaining - #made / 2 < 1 then', '-- if remaining - #made / 2 < 1 then']],
    says: 'the code never gives the outcome SOLD_OUT',
  },
]

it.each(broken)('refuses $script with $what', ({ script, changes, says }) => {
  let text = textOf(script)
  for (const [find, replace] of changes) {
    const changed = text.replace(find, replace)
    expect(changed).not.toBe(text)
    text = changed
  }
  expect(() => parseScript(script, text)).toThrow(new Error(`lua/${script}.lua: ${says}`))
})
