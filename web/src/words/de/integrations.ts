import type { Words } from '../en';

export const integrations: Words['integrations'] = {};
