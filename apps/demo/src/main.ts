import { DemoPage } from './page/demo-page.ts';
import { settingsFromQuery } from './settings/settings-from-query.ts';

new DemoPage(settingsFromQuery(window.location.search));
