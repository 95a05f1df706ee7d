// An image is {height, width, channels, values}: values are bytes, row by row, and channels 1 or 3.

const $ = (id) => document.getElementById(id);

// Each noise with the range of its level, as components/noise defines it.
const NOISES = {
  salt_pepper: {
    unit: "of the pixels", max: 1, level: 0.1,
    // Beta(0.5, 0.5) is sin²(πU/2).
    add: (x, level) => (Math.random() < level
      ? Math.round(255 * Math.sin(Math.PI * Math.random() / 2) ** 2) / 255 : x),
  },
  gaussian: { unit: "standard deviation", max: 1, level: 0.3, add: (x, sd) => x + sd * normal() },
  speckle: {
    unit: "standard deviation", max: 1, level: 0.4, add: (x, sd) => x * (1 + sd * normal()),
  },
  uniform: {
    unit: "largest change", max: 1, level: 0.4,
    add: (x, width) => x + width * (2 * Math.random() - 1),
  },
  none: { unit: "", max: 1, level: 0, add: (x) => x },
};

let models = [];
let model = null;
let clean = null;
let name = "sample";
let asked = 0;
let chosen = 0; // pictures; the last one counts, whichever is decoded first
let waiting = 0;
let underway = new AbortController();

// Pictures of any size go in tiles, as serving/client/tiling.py cuts and blends them; it says why.
const MOST = 1 << 18; // pixels of a tile of a model that takes any size
const ALIGNMENT = 32;
const RAMP = 16;
const FIXED_OVERLAP = 32;
const PROBE = { height: 128, width: 512, cut: 128 };
const SAME = 2e-5;
const TILES = 256; // of one size in a request
const VALUES = 1 << 20; // in a request, some 4 MB of JSON; one tile may have more
const AT_ONCE = 2; // requests
const LARGE = 1 << 16; // pixels from which on a moving slider waits until it rests

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum === 0 ? Infinity : -10 * Math.log10(sum / a.length / 255 ** 2);
}

function decibels(value) {
  return value === Infinity ? "identical" : `${value.toFixed(2)} dB`;
}

function draw(canvas, image, top = 0, bottom = image.height) {
  const { height, width, channels, values } = image;
  if (canvas.width !== width || canvas.height !== height || top === 0) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, bottom - top);
  for (let i = 0, from = top * width; i < (bottom - top) * width; i++, from++) {
    for (let c = 0; c < 3; c++) {
      data.data[4 * i + c] = values[from * channels + (channels === 1 ? 0 : c)];
    }
    data.data[4 * i + 3] = 255;
  }
  context.putImageData(data, 0, top);
  canvas.classList.toggle("large", width > 300);
}

// The tiles along one side: [{begin, end, weights}], the weights of all add up to 1.
function spans(length, tile, overlap, margin, fixed) {
  if (length <= tile) return [{ begin: 0, end: length, weights: new Float32Array(length).fill(1) }];
  const begins = [];
  if (fixed) {
    const number = 1 + Math.ceil((length - tile) / Math.max(1, tile - overlap));
    for (let i = 0; i < number; i++) begins.push(Math.round(i * (length - tile) / (number - 1)));
  } else {
    const most = Math.max(1, tile - overlap);
    const step = Math.floor(most / ALIGNMENT) * ALIGNMENT || most;
    for (let begin = 0; begin < length - tile + step; begin += step) begins.push(begin);
  }
  const parts = begins.map((begin) => ({ begin, end: Math.min(begin + tile, length) }));
  const rise = (place, shared) => {
    if (!shared) return 1;
    const at = Math.min(1, Math.max(0, (place - margin + 0.5) / (shared - 2 * margin)));
    return Math.sin(Math.PI / 2 * at) ** 2;
  };
  const total = new Float64Array(length);
  parts.forEach((part, i) => {
    const size = part.end - part.begin;
    part.weights = Float32Array.from({ length: size }, (_, place) =>
      (i ? rise(place, parts[i - 1].end - part.begin) : 1)
      * (i + 1 < parts.length ? rise(size - 1 - place, part.end - parts[i + 1].begin) : 1));
    part.weights.forEach((weight, place) => { total[part.begin + place] += weight; });
  });
  for (const { begin, weights } of parts) {
    weights.forEach((weight, place) => { weights[place] = weight / total[begin + place]; });
  }
  return parts;
}

// The size of the tiles, what neighbours share and how much of that counts for nothing.
function tiling(height, width, margin) {
  if (model.height !== null) {
    const sides = [model.height, model.width].map((side) => Math.floor(side / 2));
    const overlap = Math.min(...sides, FIXED_OVERLAP);
    return {
      tile: [model.height, model.width], overlap,
      margin: Math.floor(Math.max(0, overlap - 1) / 4), fixed: true,
    };
  }
  if (height * width <= MOST) {
    return { tile: [height, width], overlap: Math.min(height, width), margin: 0, fixed: false };
  }
  const aligned = (length) => Math.max(ALIGNMENT, Math.floor(length / ALIGNMENT) * ALIGNMENT);
  const narrow = Math.min(height, width, aligned(Math.floor(Math.sqrt(MOST))));
  const long = aligned(Math.floor(MOST / narrow));
  const kept = Math.min(margin, Math.floor(long / 4) - RAMP / 2);
  const overlap = 2 * kept + RAMP;
  const short = Math.max(narrow, overlap);
  return {
    tile: height > width ? [long, short] : [short, long], overlap, margin: kept, fixed: false,
  };
}

// How far from an edge what a model of any size makes of a picture depends on what is beyond it:
// of noise, and of the same noise cut off, it makes the same from there on.
async function margin(signal) {
  if (model.margin === undefined) {
    const { height, width, cut: at } = PROBE;
    const noise = Array.from({ length: height }, (_, y) => Array.from({ length: width }, () =>
      Array.from({ length: model.channels }, () => {
        const value = Math.random();
        return Number((2 * y < height ? value : 0.5 + 0.2 * (value - 0.5)).toFixed(4));
      })));
    const [whole] = await ask("serving_default", [noise], signal);
    const [part] = await ask("serving_default", [noise.map((row) => row.slice(at))], signal);
    let last = -1;
    part.forEach((row, y) => row.forEach((pixel, x) => pixel.forEach((value, c) => {
      if (x > last && Math.abs(value - whole[y][x + at][c]) > SAME) last = x;
    })));
    model.margin = last + 1;
  }
  return model.margin;
}

// What the model takes of a tile: each of its images as bytes, a channel by itself where the
// picture has more; filled up by reflection to the model's size where it has one.
function cut(image, row, column, height, width) {
  const apart = image.channels > model.channels;
  const images = apart ? [0, 1, 2] : [null];
  const reflect = (place, size) => {
    const at = place % (2 * size);
    return at < size ? at : 2 * size - 1 - at;
  };
  return images.map((channel) => {
    const values = new Uint8ClampedArray(height * width * model.channels);
    let to = 0;
    for (let y = 0; y < height; y++) {
      const line = (row.begin + reflect(y, row.end - row.begin)) * image.width;
      for (let x = 0; x < width; x++) {
        const from = (line + column.begin + reflect(x, column.end - column.begin)) * image.channels;
        for (let c = 0; c < model.channels; c++) {
          values[to++] = image.values[from + (apart ? channel : Math.min(c, image.channels - 1))];
        }
      }
    }
    return { height, width, channels: model.channels, values };
  });
}

async function ask(signature, inputs, signal) {
  const response = await fetch(`/v1/models/${encodeURIComponent(model.model)}:predict`, {
    method: "POST", body: JSON.stringify({ signature_name: signature, inputs }), signal,
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer.outputs;
}

// Images of the model's one size, or of any.
async function predict(images, signal) {
  if (model.height !== null) {
    return ask("predict_pixels", images.map((image) => Array.from(image.values)), signal);
  }
  const inputs = [];
  for (const image of images) inputs.push({ b64: await encoded(image) });
  const answers = [];
  for (const { b64 } of await ask("predict_encoded", inputs, signal)) {
    const bytes = Uint8Array.from(atob(b64), (character) => character.charCodeAt(0));
    answers.push((await decoded(new Blob([bytes]), model.channels)).values);
  }
  return answers;
}

async function encoded(image) {
  const canvas = document.createElement("canvas");
  draw(canvas, image);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  const reader = new FileReader();
  await new Promise((resolve) => { reader.onload = resolve; reader.readAsDataURL(blob); });
  return reader.result.slice(reader.result.indexOf(",") + 1);
}

// An image of 1 or 3 channels; without their number, 1 where all pixels are grey.
async function decoded(blob, channels) {
  const bitmap = await createImageBitmap(blob);
  const { height, width } = bitmap;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  if (channels === undefined) {
    channels = 1;
    for (let i = 0; i < data.length && channels === 1; i += 4) {
      if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) channels = 3;
    }
  }
  const values = new Uint8ClampedArray(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < channels; c++) values[i * channels + c] = data[4 * i + c];
  }
  return { height, width, channels, values };
}

// The denoised image; `told` is called with it and the rows that are new in it.
async function denoised(image, signal, told) {
  const { height, width, channels } = image;
  const seen = model.height === null && height * width > MOST ? await margin(signal) : 0;
  const { tile, overlap, margin: unused, fixed } = tiling(height, width, seen);
  const rows = spans(height, tile[0], overlap, unused, fixed);
  const columns = spans(width, tile[1], overlap, unused, fixed);
  const result = { ...image, values: new Uint8ClampedArray(image.values.length) };
  let carried = new Float32Array(0); // the rows that the next band adds to
  for (const [index, row] of rows.entries()) {
    const band = new Float32Array((row.end - row.begin) * width * channels);
    band.set(carried);
    const ofOne = tile[0] * tile[1] * Math.max(channels, model.channels);
    const most = Math.min(TILES / channels, VALUES / ofOne);
    const each = fixed ? Math.max(1, Math.floor(most)) : 1;
    let next = 0;
    const work = async () => {
      while (next < columns.length) {
        const some = columns.slice(next, next + each);
        next += each;
        const images = some.map((column) => cut(image, row, column,
          fixed ? tile[0] : row.end - row.begin, fixed ? tile[1] : column.end - column.begin));
        const answers = await predict(images.flat(), signal);
        const number = images[0].length;
        some.forEach((column, i) => {
          add(band, row, column, width, channels, images[i][0].width,
            answers.slice(i * number, (i + 1) * number));
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const ready = index + 1 < rows.length ? rows[index + 1].begin : height;
    const count = (ready - row.begin) * width * channels;
    for (let i = 0, to = row.begin * width * channels; i < count; i++, to++) {
      result.values[to] = band[i];
    }
    carried = band.subarray(count);
    told(result, row.begin, ready);
  }
  return result;
}

// Adds a tile's answers, one or one for each channel, to a band.
function add(band, row, column, width, channels, stride, answers) {
  const own = answers.length > 1 ? 1 : model.channels;
  for (let y = 0; y < row.end - row.begin; y++) {
    for (let x = 0; x < column.end - column.begin; x++) {
      const weight = row.weights[y] * column.weights[x];
      const to = (y * width + column.begin + x) * channels;
      const from = (y * stride + x) * own;
      for (let c = 0; c < channels; c++) {
        let value = answers.length > 1 ? answers[c][from] : answers[0][from + Math.min(c, own - 1)];
        if (channels === 1 && own === 3) {
          value = (answers[0][from] + answers[0][from + 1] + answers[0][from + 2]) / 3;
        }
        band[to + c] += weight * value;
      }
    }
  }
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function denoise() {
  if (!model || !clean) return;
  const turn = ++asked;
  underway.abort();
  underway = new AbortController();
  const { signal } = underway;
  const noise = NOISES[$("noise").value];
  const level = Number($("level").value);
  const values = Uint8ClampedArray.from(clean.values, (x) =>
    Math.round(255 * Math.min(1, Math.max(0, noise.add(x / 255, level)))));
  const noisy = { ...clean, values };
  draw($("clean"), clean);
  draw($("noisy"), noisy);
  $("noisy-psnr").textContent = decibels(psnr(clean.values, noisy.values));
  $("denoised-psnr").textContent = "";
  $("save").hidden = true;
  const started = performance.now();
  try {
    const result = await denoised(noisy, signal, (part, top, bottom) => {
      if (turn !== asked) return;
      draw($("denoised"), part, top, bottom);
      if (bottom < noisy.height) say(`Denoising: ${Math.round(100 * bottom / noisy.height)} %.`);
    });
    if (turn !== asked) return; // a newer one is on the way
    $("denoised-psnr").textContent = decibels(psnr(clean.values, result.values));
    $("save").hidden = false;
    const note = clean.channels > model.channels
      ? " The model takes grey images: each channel was denoised by itself." : "";
    const size = `${clean.width} × ${clean.height} pixels`;
    say(`Denoised ${size} in ${Math.round(performance.now() - started)} ms.${note}`);
  } catch (error) {
    if (turn === asked) say(`The server did not answer: ${error.message}`, true);
  }
}

// Denoises now, or, of a large picture, when nothing has changed for a moment.
function denoiseSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(denoise, clean && clean.width * clean.height > LARGE ? 300 : 0);
}

function choose(image) {
  clean = image;
  denoise();
}

function select(button) {
  for (const other of $("samples").children) {
    other.setAttribute("aria-checked", String(other === button));
    other.tabIndex = other === button ? 0 : -1;
  }
}

function showSamples() {
  // What is under way is of another model, and would go on with this one.
  clearTimeout(waiting);
  asked++;
  chosen++;
  underway.abort();
  const [height, width, channels] = model.sample_shape;
  const samples = model.samples.map((pixels) => (
    { height, width, channels, values: Uint8ClampedArray.from(pixels) }));
  const buttons = samples.map((image, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Sample ${index + 1}`);
    const canvas = document.createElement("canvas");
    button.append(canvas);
    draw(canvas, image);
    button.addEventListener("click", () => {
      chosen++;
      name = "sample";
      select(button);
      choose(image);
    });
    return button;
  });
  $("samples").replaceChildren(...buttons);
  clean = null;
  if (buttons.length) {
    buttons[0].click();
  } else {
    say("Drop an image to begin.");
  }
}

// The arrow keys move within the samples, as in any group of radio buttons.
$("samples").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...$("samples").children];
  const at = buttons.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  const next = buttons[(at + step + buttons.length) % buttons.length];
  next.focus();
  next.click();
});

async function open(file) {
  if (!file || !model) return;
  const turn = ++chosen;
  let image;
  try {
    image = await decoded(file);
  } catch {
    if (turn !== chosen) return;
    say(`${file.name} is not an image this browser can read.`, true);
    return;
  }
  if (turn !== chosen) return; // another one was chosen meanwhile
  select(null);
  if ($("samples").firstChild) $("samples").firstChild.tabIndex = 0;
  name = file.name.replace(/\.[^.]*$/, "");
  choose(image);
}

$("save").addEventListener("click", (event) => {
  event.preventDefault();
  $("denoised").toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}-denoised.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }, "image/png");
});
$("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // the same file may be chosen again
  open(file);
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") open(event.dataTransfer.files[0]);
  });
}

function showLevel() {
  const { unit } = NOISES[$("noise").value];
  const level = Number($("level").value);
  const text = unit === "of the pixels" ? `${Math.round(100 * level)} % ${unit}`
    : `${level.toFixed(2)} ${unit}`;
  $("level-text").textContent = text;
  $("level").setAttribute("aria-valuetext", text);
}

$("noise").addEventListener("change", () => {
  const { max, level } = NOISES[$("noise").value];
  $("level").max = max;
  $("level").value = level;
  $("level").parentElement.hidden = $("noise").value === "none";
  showLevel();
  denoise();
});
$("level").addEventListener("input", () => { showLevel(); denoiseSoon(); });
$("again").addEventListener("click", denoise);
$("controls").addEventListener("submit", (event) => event.preventDefault());
$("model").addEventListener("change", () => {
  model = models[$("model").selectedIndex];
  showSamples();
});

async function start() {
  showLevel();
  try {
    const response = await fetch("/page/samples.json");
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    models = answer;
  } catch (error) {
    say(`The server did not answer: ${error.message}`, true);
    return;
  }
  if (!models.length) {
    say("No model with a predict_pixels signature is being served yet. Reload when there is one.",
      true);
    return;
  }
  $("model").replaceChildren(...models.map((item) => new Option(item.model)));
  $("model-label").hidden = models.length < 2;
  model = models[0];
  showSamples();
}

start();
