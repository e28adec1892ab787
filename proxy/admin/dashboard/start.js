// start.js - last of all.
buildPanels();
poll();
