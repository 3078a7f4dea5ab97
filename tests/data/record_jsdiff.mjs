// Records diffs of the npm package diff, and an order of localeCompare, for tests/unit/test_diff.py and test_sizes.py:
//   node tests/data/record_jsdiff.mjs PATH/TO/node_modules > tests/data/jsdiff.json
import { createRequire } from 'node:module';
import path from 'node:path';
const { createTwoFilesPatch } = createRequire(path.resolve(process.argv[2], 'x.js'))('diff');
let seed = 11;
const random = (n) => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return Math.floor((seed / 4294967296) * n); };
const words = [['a', 'b', '', '}', 'x'], Array.from({ length: 99 }, (_, i) => `line ${i}`)];
const cases = [['', ''], ['', 'a\n'], ['a\n', ''], ['a', 'a\n'], ['a\n', 'a'], ['a\n', 'b\n'], ['a\r\nb\r\n', 'a\nb\r\n'], ['a\n\n\n', 'a\n'], ['\n', ''], ['a\rb\n', 'a\nb\n']];
while (cases.length < 120) {
  const vocabulary = words[random(2)];
  const lines = Array.from({ length: 1 + random(30) }, () => vocabulary[random(vocabulary.length)]);
  const changed = [...lines];
  for (let n = 1 + random(3); n > 0; n--) {
    const added = Array.from({ length: random(4) }, () => vocabulary[random(vocabulary.length)]);
    changed.splice(random(changed.length + 1), random(4), ...added);
  }
  const end = () => (random(4) ? '\n' : '');
  cases.push([lines.join('\n') + end(), changed.join('\n') + end()]);
}
const diffs = cases.map(([a, b]) => [a, b, createTwoFilesPatch('/f', '/f', a, b, 'original', 'modified')]);
const letters = "abcABCxyZ012 _-.(),~+@#!$%&'[]{}=^`;";
const names = new Set();
while (names.size < 300) names.add(Array.from({ length: 1 + random(6) }, () => letters[random(letters.length)]).join(''));
console.log(JSON.stringify({ diffs, sorted: [...names].sort((a, b) => a.localeCompare(b)) }));
