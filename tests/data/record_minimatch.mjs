// Records what minimatch answers, for tests/unit/test_globs.py. Run where the reference server is installed:
//   node tests/data/record_minimatch.mjs PATH/TO/node_modules > tests/data/minimatch.json
import { createRequire } from 'node:module';
import path from 'node:path';
const { minimatch } = createRequire(path.resolve(process.argv[2], 'x.js'))('minimatch');

const paths = ['a', 'b', 'ab', 'abc', 'a.py', '.a', '.env', '.git/config', 'a/b', 'a/b/c', 'a/b/c/d', 'a/.b/c', 'b/a', 'x/a.py',
  'x/y/a.py', 'x/y/a.pyc', 'src/a.ts', 'src/a.tsx', 'src/x/a.ts', 'node_modules', 'node_modules/x', 'x/node_modules',
  'x/node_modules/y', 'a b', 'a-b', 'a]b', '[a]', 'a{b}', '{a,b}', 'a,b', 'a!b', '!a', '#a', '\\a', 'a*b', 'a?b', 'é', 'aé', 'A',
  'a1', 'a2', 'a3', 'a10', 'a01', '1', '01', 'ac', 'abd', 'acd', 'aXb', 'a..b', '...', '-', 'a^', '$', '(a)', '+(a)', 'a\nb', 'a/b/a/b/a',
  'b/b/b/b', 'c/a/b', 'a/c/b', 'a/x/y/b', 'A/B', '_', 'a_b', ' ', '~', '${a}', '{}', 'a{}', '{a}', 'a{1..3}', 'a|b', 'a&&b', 'a--b'];
const written = ['*', '**', '***', '**/*', '*/**', '**/**', '*.py', '**/*.py', '*.*', '.*', '.*/**', '?', '??', 'a?', 'a*', '*a', '*a*', 'a*b', 'a*b*c', 'a/*',
  'a/**', 'a/**/b', 'a/**/**/b', '**/a', '**/a/**', '**/b/**/a', 'a/**/b/**', '**/a/**/b/**', '*/*', '*/*/*', 'a/*/c', 'a/?/c', 'a/b/', '/a', './a', 'a//b', 'a/../b', '..', '.',
  '', '#a', '\\#a', '!a', '!!a', '!', '!!', '!*.py', '!**', '[a]', '[ab]', '[!a]', '[^a]', '[a-c]', '[c-a]', '[]', '[]a]', '[!]a]', '[a', 'a]', '[a]b]', '[[]a]', '[a-]', '[-a]', '[--a]',
  '[a\\]]', '[\\]]', 'a[!b]b', 'a[-]b', '[[:alpha:]]', '[[:digit:]]', '[[:alnum:]]b', '[![:alpha:]]', '[[:alpha:][:digit:]]', 'a[[:digit:]]', '[[:space:]]', '[[:word:]]', '[[:xdigit:]]',
  '[a-[:alpha:]]', '[[:foo:]]', '*[a-c]', '[a-c]*', '[a-c]/**', '**/[a-c]', '{a,b}', '{a,b}/*', 'a{b,c}', 'a{b,}', 'a{,b}c', '{a}', '{}', 'a{}', '{a', 'a}', '{a,b', '{a,{b,c}}',
  'a{b,c{d,e}}', '{a,b}{c,d}', 'a{1..3}', 'a{3..1}', 'a{01..03}', 'a{1..10..9}', '{a..c}', '{c..a}', '{a..c..2}', 'a{1..b}', '${a,b}', '${a}', 'a{b}c', '\\{a,b}', '{a\\,b}', '{a,b}.py',
  '*.{py,ts}', '**/*.{ts,tsx}', 'src/**/*.ts', 'src/**', '{src,x}/**', '**/{node_modules,src}/**', '**/node_modules', '**/node_modules/**', 'node_modules', 'node_modules/**', 'node_modules*',
  '\\a', '\\\\a', 'a\\*b', 'a\\?b', '\\[a\\]', '\\!a', 'é', '?é', '*é', 'a b', 'a\nb', '* *', '(a)', 'a|b', 'a&&b', 'a.b', 'a^', '$', 'a+', '~', 'a..b', '...', '.env', '.e*', '.git/*', '.git/**', '**/.git/**',
  '**/.*', '*/.*', '**/?', '**/??', 'a**', '**a', 'a**b', 'a/**b', 'a/b**', '*/b/**', '*/**/c', '**/*/c', '**/*/**', '*/**/*', '**/a/*/a', '**/b/*', 'b/**/b', 'b/*/b/b', 'A', 'A/*', '[A-Z]', '{A,a}',
  '{a/b,x/y}/*', '{,a/}b', '{*.py,src/*}', '[{a,b}]', '{[ab],c}', '{a,b}{,c}', '{{a,b}}', '{a,b}}', '{{a,b}', '{a,,b}', '{,}', 'a{,}', '{1..3}', '{01..3}', '{-1..1}', '{a..C}', '{1..3..0}', '{1..3..-1}'];
let seed = 7;
const random = (n) => { seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; return Math.floor((seed / 4294967296) * n); };
const parts = ['a', 'b', 'c', '*', '**', '?', '/', '/', '.', '[ab]', '[!b]', '{a,b}', '{b,', '}', '*', 'x', 'py', '-', ',', '[', ']'];
const generated = [];
for (let i = 0; i < 600; i++) {
  let pattern = '';
  for (let n = 1 + random(7); n > 0; n--) pattern += parts[random(parts.length)];
  generated.push(pattern);
}
const rows = {};
for (const pattern of [...written, ...generated]) {
  const hits = [];
  paths.forEach((p, i) => { if (minimatch(p, pattern, { dot: true })) hits.push(i); });
  rows[pattern] = hits;
}
console.log(JSON.stringify({ paths, rows }));
