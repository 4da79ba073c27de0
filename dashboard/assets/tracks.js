/* How trips, stops, marks and areas are drawn. Forms tell them apart too, not colours alone. */
window.collateral = Object.assign({}, window.collateral, (function () {
  'use strict';
  const STYLES = {
    site: {color: '#1c2733', weight: 2, fillOpacity: 0.08},
    agreed: {color: '#2f7d4f', weight: 1, fillOpacity: 0.10},
    corridor: {color: '#2f7d4f', weight: 1, fillOpacity: 0.10},
    region: {color: '#145a94', weight: 2, dashArray: '8 5', fillOpacity: 0.03},
    forbidden: {color: '#9f1239', weight: 2, dashArray: '2 4', fillOpacity: 0.16},
    place: {color: '#5b6774', weight: 1.5, fillOpacity: 0.12},
    trip: {color: '#0f766e', weight: 3, opacity: 0.85},
    silence: {color: '#5b6774', weight: 2, dashArray: '3 7'},
    flag: {color: '#9f1239', weight: 6, opacity: 0.8, lineCap: 'butt'},
  };
  const POINTS = {
    known: {color: '#0f766e', fillColor: '#fff', weight: 2, fillOpacity: 1},
    stop: {color: '#1c2733', fillColor: '#f2d36b', weight: 1.5, fillOpacity: 1},
  };

  function trackStyle(feature) {
    return STYLES[feature.properties.kind] || {};
  }

  /* A longer stop is larger, one at a known place hollow; a marked one has a square with a sign on it. */
  function trackPoint(feature, latlng, context) {
    const p = feature.properties;
    if (p.kind === 'flag') {
      const icon = L.divIcon({className: 'track-flag', html: '<span>!</span>', iconSize: [20, 20]});
      return L.marker(latlng, {icon: icon, keyboard: true, alt: p.tip, zIndexOffset: 1000});
    }
    const radius = 4 + Math.min(6, 2 * Math.sqrt(p.hours || 0));
    const pane = context && context.map && context.map.getPane('tracks-stops') ? {pane: 'tracks-stops'} : {};
    return L.circleMarker(latlng, Object.assign({radius: radius}, POINTS[p.known ? 'known' : 'stop'], pane));
  }

  function trackFeature(feature, layer, context) {
    if (context && context.map) {
      window.collateral.graticule(context.map, (context.hideout || {}).locale);
    }
    const text = feature.properties.tip;
    if (!text) { return; }
    const box = document.createElement('div');
    text.split('\n').forEach(function (line, number) {
      const part = document.createElement(number ? 'div' : 'b');
      part.textContent = line;
      box.appendChild(part);
    });
    layer.bindTooltip(box, {sticky: true});
  }

  return {trackStyle: trackStyle, trackPoint: trackPoint, trackFeature: trackFeature};
})());
