"""What was asked and answered in a record that still holds its texts, as chat messages: for the lake, not for costs."""

from tokenledger.texts.blocks import Message
from tokenledger.texts.conversation import Conversation, Unread, read_conversation

__all__ = ["Conversation", "Message", "Unread", "read_conversation"]
