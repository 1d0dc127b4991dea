// Chats and conversations.
export function chatRoutes(_world) {
  return [];
}
