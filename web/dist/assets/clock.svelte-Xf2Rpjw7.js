import{a3 as t}from"./index-moADLDHj.js";const n=t(r=>{const e=setInterval(r,1e3);return()=>clearInterval(e)});function o(){return n(),Date.now()}export{o as n};
