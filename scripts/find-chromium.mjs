import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const places = [
  process.env.CHROMIUM_PATH,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** Path of an installed Chromium or Chrome, or undefined. CHROMIUM_PATH names another one. */
export const findChromium = () => places.find((place) => place && existsSync(place));

/** Finds Chromium; on Debian as root, installs the distribution's package when it is missing. Otherwise says how. */
export function ensureChromium() {
  if (findChromium()) return findChromium();
  const isRoot = process.getuid?.() === 0;
  if (isRoot && existsSync('/usr/bin/apt-get')) {
    console.log('Installing Debian’s chromium for the browser and WebGPU tests');
    const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const run = (list) => spawnSync('apt-get', list, { stdio: ['ignore', 'ignore', 'inherit'], env: environment });
    run(['update', '-qq']);
    run(['install', '-y', '-qq', '--no-install-recommends', 'chromium']);
  }
  if (!findChromium()) {
    console.log('Chromium was not found: the browser and WebGPU tests need it.');
    console.log(
      'Debian or Ubuntu: sudo apt-get install chromium. Elsewhere: set CHROMIUM_PATH to a Chromium or Chrome.',
    );
  }
  return findChromium();
}
