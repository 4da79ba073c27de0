/* Markers of the map, the graticule behind them, and the way from a marker to its page. No outside tiles are used. */
window.collateral = Object.assign({}, window.collateral, (function () {
  'use strict';
  const BADNESS = {A: 0, B: 1, C: 2, D: 3, E: 4, U: 5};
  const counted = new WeakMap();

  /* Sites per grade below each cluster, worked out once per cluster. */
  function gradesOf(index, id) {
    let known = counted.get(index);
    if (!known) { known = new Map(); counted.set(index, known); }
    let sums = known.get(id);
    if (sums) { return sums; }
    sums = {A: 0, B: 0, C: 0, D: 0, E: 0, U: 0};
    for (const child of index.getChildren(id)) {
      if (child.properties.cluster) {
        const below = gradesOf(index, child.properties.cluster_id);
        for (const grade in below) { sums[grade] += below[grade]; }
      } else {
        sums[child.properties.g] += 1;
      }
    }
    known.set(id, sums);
    return sums;
  }

  const COLOURS = {A: '#1b6ca8', B: '#8cc3e0', C: '#f2d36b', D: '#ea8a3a', E: '#b2182b', U: '#6b7280'};

  function ring(sums, total) {
    let turned = 0;
    const stops = [];
    for (const grade of ['E', 'D', 'C', 'B', 'A', 'U']) {
      if (!sums[grade]) { continue; }
      const end = turned + 360 * sums[grade] / total;
      stops.push(COLOURS[grade] + ' ' + turned + 'deg ' + end + 'deg');
      turned = end;
    }
    return 'conic-gradient(' + stops.join(',') + ')';
  }

  function escaped(text) {
    const box = document.createElement('span');
    box.textContent = text;
    return box.innerHTML;
  }

  /* Enter and space do what a click does, for those who work without a mouse. */
  function byKeyboard(marker) {
    marker.on('keydown', function (event) {
      if (event.originalEvent.key !== 'Enter' && event.originalEvent.key !== ' ') { return; }
      event.originalEvent.preventDefault();
      marker.fire('click', {latlng: marker.getLatLng(), originalEvent: event.originalEvent}, true);
    });
    return marker;
  }

  function siteMarker(feature, latlng, context) {
    const p = feature.properties, words = context.hideout || {};
    graticule(context.map, words.locale);
    const name = (words.locale === 'en' ? p.e || p.n : p.n || p.e) || p.id;
    const score = p.v === null ? words.unknown : p.v.toFixed(1);
    const icon = L.divIcon({
      className: 'pin pin-' + p.g + (p.a ? ' pin-alert' : ''), html: '<span>' + p.g + '</span>', iconSize: [26, 26],
    });
    const marker = L.marker(latlng, {
      icon: icon, title: '', alt: p.g + ' ' + name, keyboard: true, zIndexOffset: 100 * BADNESS[p.g] + (p.a ? 1000 : 0),
    });
    marker.bindTooltip(
      '<b>' + escaped(name) + '</b><br>' + escaped((words.kinds || {})[p.k] || p.k) + ' · ' + escaped(p.id) +
      '<br><b>' + p.g + '</b> ' + escaped(String(score)), {direction: 'top', offset: [0, -12]});
    return byKeyboard(marker);
  }

  function clusterMarker(feature, latlng, index, context) {
    const p = feature.properties;
    graticule(context.map, (context.hideout || {}).locale);
    const sums = gradesOf(index, p.cluster_id);
    const size = p.point_count < 100 ? 40 : p.point_count < 10000 ? 48 : 56;
    const icon = L.divIcon({
      className: 'cluster', iconSize: [size, size],
      html: '<div class="cluster-ring" style="background:' + ring(sums, p.point_count) + '"><span>' +
        p.point_count_abbreviated + '</span></div>',
    });
    const text = Object.keys(sums).filter(grade => sums[grade]).map(grade => grade + ' ' + sums[grade]).join(' · ');
    const marker = L.marker(latlng, {icon: icon, alt: String(p.point_count), keyboard: true});
    marker.bindTooltip(text, {direction: 'top', offset: [0, -size / 2]});
    return byKeyboard(marker);
  }

  /* Lines of longitude and latitude with their degrees: the plain background. */
  const STEPS = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

  function degrees(value, positive, negative, step) {
    const digits = step >= 1 ? 0 : Math.ceil(-Math.log10(step));
    return Math.abs(value).toFixed(digits) + '°' + (value > 0 ? positive : value < 0 ? negative : '');
  }

  function graticule(map, locale) {
    if (!map || map._graticule) { return; }
    const group = L.layerGroup().addTo(map);
    map._graticule = group;
    const style = {color: '#9aa7b5', weight: 1, opacity: 0.45, interactive: false};
    const label = (latlng, text, className) => L.marker(latlng, {
      interactive: false, keyboard: false, icon: L.divIcon({className: 'degree ' + className, html: text, iconSize: [60, 14]}),
    });
    const draw = () => {
      group.clearLayers();
      const box = map.getBounds();
      const wide = box.getEast() - box.getWest();
      const least = Math.min(5, map.getSize().x / 160);  /* fewer on narrow maps, where labels would overlap */
      const step = STEPS.find(one => wide / one >= least) || STEPS[STEPS.length - 1];
      for (let lon = Math.ceil(box.getWest() / step) * step; lon <= box.getEast(); lon += step) {
        group.addLayer(L.polyline([[box.getSouth(), lon], [box.getNorth(), lon]], style));
        group.addLayer(label([box.getNorth(), lon], degrees(lon, 'E', 'W', step), 'degree-lon'));
      }
      for (let lat = Math.ceil(Math.max(-84, box.getSouth()) / step) * step; lat <= Math.min(84, box.getNorth()); lat += step) {
        group.addLayer(L.polyline([[lat, box.getWest()], [lat, box.getEast()]], style));
        group.addLayer(label([lat, box.getEast()], degrees(lat, 'N', 'S', step), 'degree-lat'));
      }
    };
    const places = L.layerGroup().addTo(map);
    const name = () => {
      places.clearLayers();
      const box = map.getBounds().pad(0.05), rank = map.getZoom() >= 7 ? 2 : 1;
      (window.collateralPlaces || []).forEach(function (place) {
        if (place[4] > rank || !box.contains([place[1], place[0]])) { return; }
        places.addLayer(L.marker([place[1], place[0]], {
          interactive: false, keyboard: false, zIndexOffset: -5000,
          icon: L.divIcon({className: 'place', html: '<i></i>' + escaped(locale === 'en' ? place[3] : place[2]), iconSize: [8, 8]}),
        }));
      });
    };
    map.on('moveend', () => { draw(); name(); });
    draw();
    name();
  }

  return {siteMarker: siteMarker, clusterMarker: clusterMarker, graticule: graticule};
})());

window.dash_clientside = Object.assign({}, window.dash_clientside, {
  collateral: {
    /* The part of the page that the address names, once it is there; else the beginning of the page. */
    showAnchor: function () {
      const wanted = decodeURIComponent(window.location.hash.slice(1));
      window.setTimeout(function () {
        const part = wanted && document.getElementById(wanted);
        if (part) { part.scrollIntoView(); } else { window.scrollTo(0, 0); }
      }, 300);
      return window.dash_clientside.no_update;
    },
    openSite: function (feature) {
      const p = feature && feature.properties;
      return p && !p.cluster && p.id ? '/site/' + encodeURIComponent(p.id) : window.dash_clientside.no_update;
    },
  },
});

/* A session that ended shows the sign-in page; a server that fails is told: the page would only stay as it was. The notice goes
   with the first sound answer to what was asked after the failure. */
(function () {
  const fetched = window.fetch;
  let asked = 0, failedAt = 0;
  function note(failed, number) {
    const place = document.getElementById('unanswered');
    if (failed) { failedAt = asked; }
    if (place && (failed || number > failedAt)) { place.hidden = !failed; }
  }
  window.fetch = function (what) {
    const number = ++asked, counts = String((what && what.url) || what).indexOf('/_dash-update-component') >= 0;
    return fetched.apply(this, arguments).then(function (answer) {
      if (answer.status === 401) { window.location.reload(); }
      if (counts) { note(answer.status >= 500, number); }
      return answer;
    }, function (error) {
      if (counts) { note(true, number); }
      throw error;
    });
  };
})();
