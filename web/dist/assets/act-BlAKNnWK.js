import{O as t,P as e}from"./index-moADLDHj.js";async function i(r,a){try{await r()}catch(s){return t(e(s),{kind:"bad"}),!1}return a&&t(a,{kind:"good"}),!0}export{i as a};
