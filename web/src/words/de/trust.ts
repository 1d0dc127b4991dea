import type { Words } from '../en';

export const trust: Words['trust'] = {};
