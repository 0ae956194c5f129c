// A minimal client of the Lambda runtime API. The official client for Node.js does more and needs a C++ build.

import http from 'node:http';

const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const [module, name] = process.env._HANDLER.split('.');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const { [name]: handler } = await import(`./${module}.mjs`);

for (;;) {
  const next = await call('GET', 'next');
  const id = next.headers['lambda-runtime-aws-request-id'];
  try {
    await call('POST', `${id}/response`, JSON.stringify(await handler(JSON.parse(next.body))));
  } catch (error) {
    await call('POST', `${id}/error`, JSON.stringify({ errorMessage: String(error), errorType: error.name }));
  }
}

function call(method, path, body = '') {
  const options = { hostname, port, agent, method, path: `/2018-06-01/runtime/invocation/${path}` };
  return new Promise((resolve, reject) => {
    const request = http.request(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ headers: response.headers, body: text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}
