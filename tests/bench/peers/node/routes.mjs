// Three routes in idiomatic AWS SDK for JavaScript: modular clients, the document client, and only the imports that a
// route needs. They have hardly any validation, no idempotency keys and no filters.

import { createHash, randomBytes } from 'node:crypto';

import { DynamoDBClient, TransactionCanceledException } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, GetCommand, QueryCommand, TransactWriteCommand } from '@aws-sdk/lib-dynamodb';

const CACHE_MILLISECONDS = 45_000;
const { API_KEYS_TABLE, EXPORTS_TABLE, EXPORTS_BUCKET, JOBS_QUEUE_URL, LINK_SIGNER_SECRET } = process.env;
const route = process.env._HANDLER.split('.')[1];

const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient());
const cachedCallers = new Map();

let sendMessage;
if (route === 'create') {
  const { SendMessageCommand, SQSClient } = await import('@aws-sdk/client-sqs');
  const sqs = new SQSClient();
  sendMessage = (message) => sqs.send(new SendMessageCommand({ QueueUrl: JOBS_QUEUE_URL, MessageBody: message }));
}

let exists;
let signLink;
if (route === 'detail') {
  const { GetSecretValueCommand, SecretsManagerClient } = await import('@aws-sdk/client-secrets-manager');
  const { GetObjectCommand, HeadObjectCommand, S3Client } = await import('@aws-sdk/client-s3');
  const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
  const found = await new SecretsManagerClient().send(new GetSecretValueCommand({ SecretId: LINK_SIGNER_SECRET }));
  const s3 = new S3Client({ credentials: signer(JSON.parse(found.SecretString)) });
  exists = (key) =>
    s3.send(new HeadObjectCommand({ Bucket: EXPORTS_BUCKET, Key: key })).then(
      () => true,
      (error) => {
        if (error.name !== 'NotFound') throw error;
        return false;
      },
    );
  signLink = (key) =>
    getSignedUrl(s3, new GetObjectCommand({ Bucket: EXPORTS_BUCKET, Key: key }), { expiresIn: 900 });
}

export async function create(event) {
  const caller = await authenticate(event);
  if (!caller) return response(401, { errors: [{ code: 'UNAUTHENTICATED' }] });
  const { cc = [] } = JSON.parse(event.body ?? '{}');
  const now = new Date();
  const id = newId(now);
  const record = {
    tenantId: caller.tenantId,
    sk: `EXPORT#${id}`,
    exportId: id,
    status: 'PENDING',
    recipientTo: caller.email,
    recipientsCc: cc,
    createdAt: now.toISOString(),
    updatedAt: now.toISOString(),
    deadline: new Date(now.getTime() + 6 * 3600 * 1000).toISOString(),
    rowsWritten: 0,
  };
  const lock = { tenantId: caller.tenantId, sk: 'LOCK#marketplace-payouts', exportId: id };
  const put = (Item) => ({ Put: { TableName: EXPORTS_TABLE, Item, ConditionExpression: 'attribute_not_exists(sk)' } });
  try {
    await dynamodb.send(new TransactWriteCommand({ TransactItems: [put(record), put(lock)] }));
  } catch (error) {
    if (!(error instanceof TransactionCanceledException)) throw error;
    return response(409, { errors: [{ code: 'EXPORT_ALREADY_PENDING' }] });
  }
  await sendMessage(JSON.stringify({ version: 1, tenantId: caller.tenantId, exportId: id }));
  return response(202, view(record));
}

export async function history(event) {
  const caller = await authenticate(event);
  if (!caller) return response(401, { errors: [{ code: 'UNAUTHENTICATED' }] });
  const found = await dynamodb.send(
    new QueryCommand({
      TableName: EXPORTS_TABLE,
      ConsistentRead: true,
      KeyConditionExpression: 'tenantId = :tenant AND begins_with(sk, :export)',
      ExpressionAttributeValues: { ':tenant': caller.tenantId, ':export': 'EXPORT#' },
      ScanIndexForward: false,
      Limit: 20,
    }),
  );
  return response(200, { content: found.Items.map(view), size: found.Items.length });
}

export async function detail(event) {
  const caller = await authenticate(event);
  if (!caller) return response(401, { errors: [{ code: 'UNAUTHENTICATED' }] });
  const found = await dynamodb.send(
    new GetCommand({
      TableName: EXPORTS_TABLE,
      Key: { tenantId: caller.tenantId, sk: `EXPORT#${event.pathParameters.exportId}` },
      ConsistentRead: true,
    }),
  );
  if (!found.Item) return response(404, { errors: [{ code: 'EXPORT_NOT_FOUND' }] });
  const shown = view(found.Item);
  const { status, file } = found.Item;
  if (status === 'READY' && (await exists(file.key))) shown.downloadUrl = await signLink(file.key);
  return response(200, shown);
}

async function authenticate(event) {
  const keyHash = createHash('sha256').update(event.headers['dj-api-key'] ?? '').digest('hex');
  const cached = cachedCallers.get(keyHash);
  if (cached && Date.now() - cached.readAt < CACHE_MILLISECONDS) return cached.caller;
  const found = await dynamodb.send(new GetCommand({ TableName: API_KEYS_TABLE, Key: { keyHash }, ConsistentRead: true }));
  if (!found.Item || event.headers['dj-client'] !== 'OPERATOR') return undefined;
  cachedCallers.set(keyHash, { readAt: Date.now(), caller: found.Item });
  return found.Item;
}

function view({ exportId, status, recipientTo, recipientsCc, createdAt, updatedAt, rowsWritten, file, linkExpiresAt }) {
  const shown = {
    exportId,
    status,
    recipients: { to: recipientTo, cc: recipientsCc },
    createdAt,
    updatedAt,
    progress: { rows: rowsWritten },
  };
  if (file) {
    shown.file = { name: file.name, rows: file.rows, bytes: file.bytes, sha256: file.sha256 };
    shown.linkExpiresAt = linkExpiresAt;
  }
  return shown;
}

function newId(now) {
  return `mpo_${now.getTime().toString(36)}${randomBytes(10).toString('hex')}`;
}

function signer({ accessKeyId, secretAccessKey }) {
  return { accessKeyId, secretAccessKey };
}

function response(statusCode, body) {
  return { statusCode, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
