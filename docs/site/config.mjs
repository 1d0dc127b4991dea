// The site of docs/ (tools/site copies this to .vitepress/config.mjs beside the pages).
import { defineConfig } from 'vitepress'

// Anchors as GitHub names them, which the documents' links use: tools/check_links.py has the same rule.
const slugify = (heading) => heading.trim().toLowerCase().replace(/[^\p{L}\p{N}_\- ]/gu, '').replace(/ /g, '-')

const page = (text, link) => ({ text, link })

export default defineConfig({
  title: 'exo',
  description: 'One computer out of the devices you already own',
  lang: 'en-US',
  cleanUrls: false,
  markdown: { anchor: { slugify } },
  ignoreDeadLinks: 'localhostLinks',
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [page('First answer', '/guide/first-answer'), page('API', '/api'), page('Command line', '/cli')],
    sidebar: [
      {
        text: 'For five minutes',
        items: [
          page('First answer', '/guide/first-answer'),
          page('A second device', '/guide/second-device'),
          page('Your phone', '/guide/phone'),
          page('Coding agents', '/guide/agents'),
          page('Troubleshooting', '/guide/troubleshooting'),
        ],
      },
      {
        text: 'To understand it',
        items: [
          page('How it works', '/guide/how-it-works'),
          page('How fast it is', '/guide/how-fast'),
          page('Making it faster', '/guide/performance'),
          page('Is it safe?', '/guide/security'),
        ],
      },
      {
        text: 'To use it',
        items: [
          page('Command line', '/cli'),
          page('Settings', '/settings'),
          page('Models', '/models'),
          page('Formats of models', '/formats'),
          page('Clients', '/clients'),
          page('HTTP API', '/api'),
          page('MCP', '/mcp'),
          page('Security', '/security'),
        ],
      },
      {
        text: 'To work on it',
        items: [
          page('Architecture', '/architecture'),
          page('Arithmetic', '/arithmetic'),
          page('Protocol', '/protocol'),
          page('Costs', '/costs'),
          page('Performance, as measured', '/performance'),
          page('Adding a model', '/adding-a-model'),
          page('Adding a backend', '/adding-a-backend'),
        ],
      },
    ],
  },
})
