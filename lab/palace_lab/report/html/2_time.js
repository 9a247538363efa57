// Where in the picture a time is, and which times are written above it.

let trueTime = false;

// Places of times: true ones, or with the square root of each pause between two events, so that
// milliseconds of work can be seen beside seconds of waiting. Both keep the order.
const scaleOf = (times, from, to) => {
  const known = [...new Set(times)].sort((a, b) => a - b);
  const weigh = trueTime ? (gap) => gap : Math.sqrt;
  const at = [0];
  for (let i = 1; i < known.length; i++) at.push(at[i - 1] + weigh(known[i] - known[i - 1]));
  const whole = at[at.length - 1] || 1;
  return (time) => {
    let i = known.findIndex((each) => each >= time);
    if (i < 0) i = known.length - 1;
    let place = at[i];
    if (known[i] !== time && i > 0)
      place = at[i - 1] + (at[i] - at[i - 1]) * ((time - known[i - 1]) / (known[i] - known[i - 1]));
    return from + (to - from) * (place / whole);
  };
};

const ticksOf = (end, scale, room, enough) => {
  const placed = [];
  for (let power = 9; power >= 3; power--) {
    for (const factor of [5, 2, 1]) {
      const step = factor * 10 ** power;
      if (end / step > 400 || placed.length >= enough) return placed;
      for (let time = 0; time <= end; time += step) {
        const x = scale(time);
        if (placed.every((each) => Math.abs(each.x - x) >= room)) placed.push({ time, x, step });
      }
    }
  }
  return placed;
};
