export { launchChromium, missingChromium } from './launch-chromium.ts';
export { type ModulePage, openModulePage } from './open-module-page.ts';
