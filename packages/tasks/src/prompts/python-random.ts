/**
 * The part of Python's `random.Random` by which lm-evaluation-harness chooses few-shot examples: MT19937 (Matsumoto and Nishimura 1998,
 * doi 10.1145/272991.272995), seeded by `init_by_array`, and `sample`. Same seed, same examples as the harness.
 */
export class PythonRandom {
  private readonly state = new Uint32Array(624);
  private index = 624;

  /** @param seed Whole number from 0, below 2^32. */
  constructor(seed: number) {
    const { state } = this;
    state[0] = 19650218;
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, mix(state[i - 1]!)) + i;
    let i = 1;
    for (let k = 0; k < 624; k++) {
      state[i] = (state[i]! ^ Math.imul(mix(state[i - 1]!), 1664525)) + seed;
      if (++i === 624) {
        state[0] = state[623]!;
        i = 1;
      }
    }
    for (let k = 0; k < 623; k++) {
      state[i] = (state[i]! ^ Math.imul(mix(state[i - 1]!), 1566083941)) - i;
      if (++i === 624) {
        state[0] = state[623]!;
        i = 1;
      }
    }
    state[0] = 0x80000000;
  }

  /** `count` different items in random order; Python's `random.sample`. `count` is at most the number of items. */
  sample<Item>(items: readonly Item[], count: number): Item[] {
    const setSize = 21 + (count > 5 ? 4 ** Math.ceil(Math.log(count * 3) / Math.log(4)) : 0);
    if (items.length <= setSize) {
      const pool = [...items];
      return Array.from({ length: count }, (_, taken) => {
        const left = pool.length - taken;
        const place = this.below(left);
        const item = pool[place]!;
        pool[place] = pool[left - 1]!;
        return item;
      });
    }
    const selected = new Set<number>();
    while (selected.size < count) selected.add(this.below(items.length));
    return [...selected].map((place) => items[place]!);
  }

  /** A whole number from 0, below `limit`; Python's `_randbelow`. */
  private below(limit: number): number {
    const bits = Math.floor(Math.log2(limit)) + 1;
    let value = this.next() >>> (32 - bits);
    while (value >= limit) value = this.next() >>> (32 - bits);
    return value;
  }

  /** 32 random bits. */
  private next(): number {
    if (this.index === 624) this.twist();
    let bits = this.state[this.index++]!;
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  }

  private twist(): void {
    const { state } = this;
    for (let i = 0; i < 624; i++) {
      const bits = (state[i]! & 0x80000000) | (state[(i + 1) % 624]! & 0x7fffffff);
      state[i] = state[(i + 397) % 624]! ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
    }
    this.index = 0;
  }
}

function mix(word: number): number {
  return word ^ (word >>> 30);
}
