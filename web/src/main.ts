import './styles/tokens.css';
import './styles/base.css';
import './styles/first.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { startLanguage } from './words/index.svelte';

// The frame of index.html is shown before the views take the processor; a tab that is not seen draws none.
const drawn = new Promise<void>((resolve) => {
  requestAnimationFrame(() => setTimeout(resolve));
  setTimeout(resolve, 200);
});

void Promise.all([startLanguage(), drawn]).then(() => {
  const target = document.getElementById('app')!;
  target.replaceChildren();
  mount(App, { target });
});
